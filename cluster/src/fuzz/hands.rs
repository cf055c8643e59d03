//! What an owner believes of a node that works for it: hands, places and lives with any numbers.

use std::time::Instant;

use crate::key::{Id, Key};
use crate::owner::contract::Serving;
use crate::wire::ToStation;

/// Four bytes for the number of hands; then groups of six: what to do, a hand or place, a life.
pub(super) fn run(data: &[u8]) {
    let Some((count, mut rest)) = data.split_first_chunk::<4>() else { return };
    let key = Key::new("a key of sixteen bytes").expect("a key");
    let (session, nonce) = (Id([1; 16]), Id([2; 16]));
    let mut serving = Serving::new(&key, session, nonce, 1, u32::from_le_bytes(*count));
    assert!(serving.hands.len() <= 4096, "a node has this program take memory");
    while let Some(([what, number, life @ ..], behind)) = rest.split_first_chunk::<6>() {
        rest = behind;
        let life = u32::from_le_bytes(*life);
        let free = serving.free();
        let number = match number {
            255 => u32::MAX,
            number => u32::from(*number),
        };
        let at = number as usize;
        match what % 7 {
            0 => {
                let filled = serving.fill(at);
                assert!(filled.is_some() || free == 0);
                if let Some(hand) = filled {
                    let life = serving.hands[hand].life;
                    let hand = u32::try_from(hand).expect("few");
                    assert_eq!(serving.place_of(hand, life), Some(at));
                    assert_eq!(serving.place_of(hand, life.wrapping_sub(1)), None);
                }
            }
            1 => serving.kill(at),
            2 => serving.release(at),
            3 => drop(serving.free_hand(at)),
            4 => drop(serving.place_of(number, life)),
            5 => serving.is_leaving = life & 1 == 1,
            _ => serving.tell(at, |hand, life| ToStation::Recall { hand, life }, &[]),
        }
        assert!(serving.free() <= serving.hands.len());
    }
    let _ = serving.packets(Instant::now());
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let steps = [[0, 3, 0, 0, 0, 0], [4, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]];
    [[2, 0, 0, 0], [255; 4], [0; 4]].map(|count| [&count[..], &steps.concat()].concat()).to_vec()
}
