//! The filter of system calls: a list of what is allowed, as a program for the kernel.
//!
//! When a filter is put in force, the kernel runs it for every number, and remembers which pass
//! whatever their arguments are. So the number is searched for in a tree: one comparison after the
//! other, as seccompiler has it, takes several times as long, at each start of a process. Within a
//! call, the arguments are compared by seccompiler's code.

use std::error::Error;

use seccompiler::{BpfProgram, SeccompRule, sock_filter};

/// The answer to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Allowed,
    /// EPERM.
    Refused,
    /// EPERM if one of these fits.
    RefusedWhen(Vec<SeccompRule>),
    /// ENOSYS, upon which the C library and others try another call.
    Absent,
}

/// The processor whose numbers the calls of this program have, as the kernel tells it to a filter.
const ARCHITECTURE: u32 = {
    /// `linux/audit.h`: little-endian, 64 bits; and the machine's number in `elf.h`.
    const LITTLE_64: u32 = 0xC000_0000;
    if cfg!(target_arch = "x86_64") {
        LITTLE_64 | 62
    } else if cfg!(target_arch = "aarch64") {
        LITTLE_64 | 183
    } else if cfg!(target_arch = "riscv64") {
        LITTLE_64 | 243
    } else {
        0
    }
};

/// Where the number is in what a filter looks at (`struct seccomp_data`).
const NUMBER: u32 = 0;
/// Where the architecture is.
const ARCH: u32 = 4;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Makes the filter that answers so, the number of a call being its index in the slice; those
/// behind it are absent, and those of another architecture end the process.
pub(super) fn program(answers: &[Answer]) -> Result<BpfProgram, Box<dyn Error>> {
    if ARCHITECTURE == 0 {
        return Err("there is no filter for this processor".into());
    }
    // From which number on which answer is given. (The x32 numbers have a high bit, and are behind
    // the last.)
    let mut runs: Vec<(usize, &Answer)> = Vec::new();
    for (number, answer) in (0..).zip(answers.iter().chain([&Answer::Absent])) {
        if runs.last().is_none_or(|(_, last)| *last != answer) {
            runs.push((number, answer));
        }
    }
    let mut program = vec![
        step(LOAD, ARCH)?,
        sock_filter { jt: 1, ..step(EQUAL, ARCHITECTURE)? },
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS)?,
        step(LOAD, NUMBER)?,
    ];
    program.extend(search(&runs)?);
    Ok(program)
}

/// Finds the run that the number is in.
fn search(runs: &[(usize, &Answer)]) -> Result<BpfProgram, Box<dyn Error>> {
    if let [(_, answer)] = runs {
        return self::answer(answer);
    }
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let start = upper.first().map_or(0, |(start, _)| *start);
    let lower = search(lower)?;
    // A conditional jump reaches no further than 255 steps.
    let mut program = vec![
        sock_filter { jt: 0, jf: 1, ..step(AT_LEAST, u32::try_from(start)?)? },
        step(JUMP, u32::try_from(lower.len())?)?,
    ];
    program.extend(lower);
    program.extend(search(upper)?);
    Ok(program)
}

/// The steps that give one answer.
fn answer(answer: &Answer) -> Result<BpfProgram, Box<dyn Error>> {
    let errno = |errno: i32| step(RETURN, libc::SECCOMP_RET_ERRNO | errno.unsigned_abs());
    Ok(match answer {
        Answer::Allowed => vec![step(RETURN, libc::SECCOMP_RET_ALLOW)?],
        Answer::Refused => vec![errno(libc::EPERM)?],
        Answer::Absent => vec![errno(libc::ENOSYS)?],
        Answer::RefusedWhen(rules) => {
            let mut program = Vec::new();
            for rule in rules {
                // What does not fit goes on behind the step after it.
                program.extend(BpfProgram::from(rule.clone()));
                program.push(errno(libc::EPERM)?);
            }
            program.push(step(RETURN, libc::SECCOMP_RET_ALLOW)?);
            program
        }
    })
}

/// One instruction that is no jump.
fn step(code: u32, value: u32) -> Result<sock_filter, Box<dyn Error>> {
    Ok(sock_filter { code: u16::try_from(code)?, jt: 0, jf: 0, k: value })
}

#[cfg(test)]
mod tests {
    use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

    /// Returns what the filter says to a call whose first arguments' lower halves are these.
    fn run(program: &BpfProgram, arch: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let skip = |holds| usize::from(if holds { step.jt } else { step.jf });
            match u32::from(step.code) {
                LOAD => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCH => arch,
                        16 => arguments[0],
                        24 => arguments[1],
                        place => panic!("nothing is at {place}"),
                    }
                }
                EQUAL => at += skip(loaded == step.k),
                AT_LEAST => at += skip(loaded >= step.k),
                JUMP => at += step.k as usize,
                RETURN => return step.k,
                code => panic!("no such step: {code}"),
            }
        }
    }

    /// Refused if the argument is none of so many values.
    fn unless(place: u8, values: u64) -> SeccompRule {
        let differs =
            |value| SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
        let all = (0..values).map(|value| differs(value).expect("a condition")).collect();
        SeccompRule::new(all).expect("a rule")
    }

    #[test]
    fn every_number_gets_its_answer() {
        let some = [
            Answer::Allowed,
            Answer::Refused,
            Answer::Absent,
            // Longer than a conditional jump reaches.
            Answer::RefusedWhen(vec![unless(0, 3), unless(1, 200)]),
        ];
        let answers: Vec<Answer> =
            (0..500_usize).map(|number| some[number * number / 7 % 11 % 4].clone()).collect();
        for answers in [&answers[..20], &answers[..1], &answers[..2], &[]] {
            let program = program(answers).expect("a program");
            for number in 0..600_u32 {
                let said = |arguments| run(&program, ARCHITECTURE, number, arguments);
                let expected = match answers.get(number as usize) {
                    Some(Answer::Allowed) => [ALLOW; 4],
                    Some(Answer::Refused) => [EPERM; 4],
                    Some(Answer::Absent) | None => [ENOSYS; 4],
                    Some(Answer::RefusedWhen(_)) => [ALLOW, EPERM, EPERM, ALLOW],
                };
                let asked = [[0, 0], [3, 0], [0, 200], [2, 199]];
                assert_eq!(asked.map(said), expected, "{number}");
                let x32 = number | 0x4000_0000;
                assert_eq!(run(&program, ARCHITECTURE, x32, [0, 0]), ENOSYS);
                let killed = libc::SECCOMP_RET_KILL_PROCESS;
                assert_eq!(run(&program, 0x4000_0003, number, [0, 0]), killed);
            }
            assert_eq!(run(&program, ARCHITECTURE, u32::MAX, [0, 0]), ENOSYS);
        }
    }
}
