//! Changes of bytes, by a generator of numbers that gives the same ones for the same seed.

/// SplitMix64
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.number() % most.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.number() as u8
    }
}

/// Longer inputs are cut.
const LONGEST: usize = 4096;

/// One of the corpus with some changes; now and then, nothing but chance.
pub(crate) fn next(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    if chance.below(50) == 0 {
        return (0..chance.below(200)).map(|_| chance.byte()).collect();
    }
    let mut bytes = corpus[chance.below(corpus.len())].clone();
    let most = 1 << chance.below(5);
    for _ in 0..1 + chance.below(most) {
        change(&mut bytes, corpus, chance);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let place = chance.below(bytes.len());
    let end = place + chance.below(1 + (bytes.len() - place).min(24));
    match chance.below(12) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << chance.below(8);
            }
        }
        2 | 3 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = if chance.below(2) == 0 { chance.byte() } else { chance.below(16) as u8 };
            }
        }
        4 => bytes.truncate(place),
        5 => drop(bytes.drain(place..end)),
        6 => {
            let copied = bytes[place..end].to_vec();
            let to = chance.below(bytes.len() + 1);
            bytes.splice(to..to, copied);
        }
        7 => {
            let other = &corpus[chance.below(corpus.len())];
            let from = chance.below(other.len());
            let count = chance.below(other.len() - from + 1);
            bytes.splice(place..end, other[from..from + count].iter().copied());
        }
        8 => {
            let word = interesting(chance).to_le_bytes();
            let width = 1 << chance.below(4);
            let end = (place + width).min(bytes.len());
            bytes.splice(place..end, word[..width].iter().copied());
        }
        9 => {
            let mut word = interesting(chance).to_be_bytes();
            let width = 1 << chance.below(4);
            let end = (place + width).min(bytes.len());
            bytes.splice(place..end, word[8 - width..].iter_mut().map(|byte| *byte));
        }
        10 => {
            // A number as postcard writes it.
            let mut number = interesting(chance);
            let mut varint = Vec::new();
            while number > 127 {
                varint.push(number as u8 | 128);
                number >>= 7;
            }
            varint.push(number as u8);
            bytes.splice(place..end.min(place + 1), varint);
        }
        _ => {
            let some: Vec<u8> = (0..chance.below(16)).map(|_| chance.byte()).collect();
            bytes.splice(place..place, some);
        }
    }
}

/// A number at which something may break.
fn interesting(chance: &mut Chance) -> u64 {
    let near = chance.below(3) as u64;
    match chance.below(5) {
        0 => near,
        1 => u64::MAX - near,
        2 => (1_u64 << chance.below(64)).wrapping_sub(1).wrapping_add(near),
        3 => u64::from(u32::MAX) - 1 + near,
        _ => chance.number() >> chance.below(64),
    }
}
