//! Both sides of a line, over a way that loses, repeats, reorders and, if the input wants it,
//! changes packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::line::Line;

/// Packets that are on their way at a time.
const LONGEST: usize = 64;

/// One side, what it has said, and what it has heard.
struct Side {
    line: Line,
    said: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    /// What is on its way to the other.
    way: VecDeque<Vec<u8>>,
}

/// Pairs of bytes: what to do, and how.
pub(super) fn run(data: &[u8]) {
    let mut now = Instant::now();
    let side = |line| Side { line, said: Vec::new(), heard: Vec::new(), way: VecDeque::new() };
    let mut sides = [side(Line::new(now)), side(Line::new(now))];
    let mut came = 0;
    // What whoever has the key makes up is believed, but may not harm.
    let mut is_honest = true;
    let mut rest = data;
    while let [what, how, behind @ ..] = rest {
        rest = behind;
        let (near, far) = (usize::from(what >> 7), 1 - usize::from(what >> 7));
        let how = usize::from(*how);
        let side = &mut sides[near];
        match what & 7 {
            0 => {
                // Some are cut up.
                let message = vec![*what; if how == 255 { 300_000 } else { how }];
                side.line.say(&message);
                side.said.push(message);
            }
            1 | 2 => {
                while let Some(packet) = side.line.packet(now) {
                    side.way.push_back(packet);
                }
                side.way.truncate(LONGEST);
            }
            3 => drop(side.way.remove(how)),
            4 => {
                let again = side.way.get(how).cloned();
                side.way.extend(again);
                side.way.truncate(LONGEST);
            }
            5 => now += Duration::from_millis(how as u64 * 8),
            6 if how > 200 => {
                is_honest = false;
                let (forged, behind) = rest.split_at(rest.len().min(how - 200));
                rest = behind;
                side.way.push_back(forged.to_vec());
            }
            6 => {
                if let Some(byte) = side.way.front_mut().and_then(|packet| packet.get_mut(how)) {
                    is_honest = false;
                    *byte ^= 1 << (what >> 4 & 7);
                }
            }
            _ => {
                let at = how % side.way.len().max(1);
                let Some(packet) = side.way.remove(at) else { continue };
                came += packet.len();
                let to = &mut sides[far];
                let sense = to.line.hear(&packet, now, &mut to.heard);
                assert!(sense.is_ok() || !is_honest, "an honest packet makes no sense");
                if sense.is_err() {
                    return;
                }
            }
        }
        check(&sides, is_honest, came);
    }
}

fn check(sides: &[Side; 2], is_honest: bool, came: usize) {
    for (near, far) in [(0, 1), (1, 0)] {
        let heard = &sides[far].heard;
        if is_honest {
            assert!(sides[near].said.starts_with(heard), "not in order");
        }
        assert!(heard.iter().map(Vec::len).sum::<usize>() <= came, "more than came");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 5, 0, 7, 1, 0, 7, 0, 0x81, 0, 0x87, 0],
        // Cut up, lost in part, and sent again.
        vec![0, 255, 1, 0, 3, 1, 7, 0, 5, 40, 1, 0, 7, 0, 7, 0, 5, 9, 0x81, 0, 0x87, 0],
        vec![0, 5, 1, 0, 4, 0, 7, 1, 7, 0, 0x80, 9, 0x81, 0, 0x87, 0],
        [&[6, 221][..], &[0; 21]].concat(),
        [&[6, 225][..], &[0; 16], &[5, 0, 0, 0, 1, 2, 3, 4, 5], &[7, 0]].concat(),
        vec![0, 5, 1, 0, 6, 3, 7, 0],
    ]
}
