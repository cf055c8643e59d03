//! Two that have the same key prove it to each other, in CPython's words.
//!
//! The listener challenges first: 32 random bytes, to be answered with their HMAC-SHA256 under the
//! key. Only then it is challenged itself. So it answers nobody who has not proved the key, and a
//! stranger learns nothing from it. A connecting side answers first, as in CPython, so a false
//! listener could have one client answer the challenge of another; to prevent it, what we send says
//! which side it comes from, and neither side answers a challenge of its own kind. (A Python client
//! knows no sides, and would answer.)
//!
//! This is a state machine without input and output. Who passes bytes on between the two true sides
//! is not found out, nor are later messages protected: over a network that strangers can write to,
//! a tunnel is needed.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use hmac_sha256::HMAC;

use crate::sys::random;

/// The longest message of a handshake.
pub(crate) const LONGEST: u64 = 256;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";

/// The name that CPython 3.12 and newer give the hash.
const SHA256: &[u8] = b"{sha256}";

/// The least random bytes that a challenge must have; CPython sends 40.
const MIN_CHALLENGE: usize = 20;

/// Why two sides did not agree that they have the same key.
///
/// ```
/// use multiproc::{
///     Address, AuthenticationError, Client, ConnectError, Connection, Listener, Process,
/// };
///
/// fn stranger(address: Address) -> bool {
///     let tried = Client::new().key("guessed").connect::<(), ()>(&address);
///     matches!(tried, Err(ConnectError::Authentication(AuthenticationError::Refused)))
/// }
///
/// let mut listener = Listener::builder().key("secret").bind(Address::fresh()?)?;
/// let child = Process::new(stranger, (listener.address().clone(),)).start()?;
/// let error = listener.accept_one::<(), ()>().unwrap_err();
/// assert!(error.to_string().ends_with("digest received was wrong"));
/// assert!(child.join()?);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug)]
pub enum AuthenticationError {
    /// The other side has another key.
    WrongKey,
    /// The other side refused our key.
    Refused,
    /// The other side says something else than the protocol does, or wants a weaker hash than
    /// SHA-256 (CPython before 3.12).
    Garbage(String),
    /// The other side took too long.
    TimedOut,
    /// The other side left.
    Disconnected,
    /// The operating system refused.
    Os(io::Error),
}

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthenticationError::WrongKey => f.write_str("digest received was wrong"),
            AuthenticationError::Refused => f.write_str("digest sent was rejected"),
            AuthenticationError::Garbage(what) => {
                write!(f, "the other side does not follow the protocol: {what}")
            }
            AuthenticationError::TimedOut => {
                f.write_str("the other side did not authenticate itself in time")
            }
            AuthenticationError::Disconnected => {
                f.write_str("the other side left before it was authenticated")
            }
            AuthenticationError::Os(error) => write!(f, "cannot authenticate: {error}"),
        }
    }
}

impl StdError for AuthenticationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            AuthenticationError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl AuthenticationError {
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            AuthenticationError::WrongKey | AuthenticationError::Refused => {
                io::ErrorKind::PermissionDenied
            }
            AuthenticationError::Garbage(_) => io::ErrorKind::InvalidData,
            AuthenticationError::TimedOut => io::ErrorKind::TimedOut,
            AuthenticationError::Disconnected => io::ErrorKind::UnexpectedEof,
            AuthenticationError::Os(error) => error.kind(),
        }
    }
}

/// A secret that both sides have; it may be empty.
#[derive(Clone)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    pub(crate) fn new(bytes: &[u8]) -> Key {
        Key(bytes.into())
    }
}

impl fmt::Debug for Key {
    /// Prints nothing of the key: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Which of the two sides one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Accepts connections, and challenges first.
    Listener,
    /// Connects.
    Client,
}

impl Side {
    /// Returns what marks this side's challenges.
    fn mark(self) -> &'static [u8] {
        match self {
            Side::Listener => b"multiproc listener ",
            Side::Client => b"multiproc client ",
        }
    }
}

/// The message that a side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Challenge,
    Proof,
    Verdict,
    Done,
}

/// One side of the conversation.
#[derive(Debug)]
pub(crate) struct Handshake {
    side: Side,
    key: Key,
    /// The challenge that the other side has to sign: the hash's name, this side's mark, random
    /// bytes.
    challenge: Vec<u8>,
    state: State,
}

impl Handshake {
    pub(crate) fn new(side: Side, key: Key) -> Result<Handshake, AuthenticationError> {
        // New for each handshake: an answer that somebody overheard is of no use for another.
        let random: [u8; 32] = random::bytes().map_err(AuthenticationError::Os)?;
        let challenge = [SHA256, side.mark(), &random].concat();
        // The listener has challenged first, and waits for the proof; the client waits for the
        // challenge.
        let state = match side {
            Side::Listener => State::Proof,
            Side::Client => State::Challenge,
        };
        Ok(Handshake { side, key, challenge, state })
    }

    /// Returns what this side says first, if it does.
    pub(crate) fn opening(&self) -> Option<Vec<u8>> {
        (self.side == Side::Listener).then(|| self.own_challenge())
    }

    fn own_challenge(&self) -> Vec<u8> {
        [CHALLENGE, &self.challenge].concat()
    }

    /// Takes a message of the other side, and gives what is to be sent for it. After an error,
    /// `farewell` is.
    pub(crate) fn received(&mut self, message: &[u8]) -> Result<Vec<Vec<u8>>, AuthenticationError> {
        match self.state {
            State::Challenge => {
                let proof = self.prove(message)?;
                self.state = State::Verdict;
                Ok(vec![proof])
            }
            State::Proof => {
                self.verify(message)?;
                // The listener is satisfied, and is challenged in turn; the client has asked last,
                // and is done.
                match self.side {
                    Side::Listener => {
                        self.state = State::Challenge;
                        Ok(vec![WELCOME.to_vec()])
                    }
                    Side::Client => {
                        self.state = State::Done;
                        Ok(vec![WELCOME.to_vec()])
                    }
                }
            }
            // Our proof was right. The listener has asked before; the client asks now.
            State::Verdict if message == WELCOME => match self.side {
                Side::Listener => {
                    self.state = State::Done;
                    Ok(Vec::new())
                }
                Side::Client => {
                    self.state = State::Proof;
                    Ok(vec![self.own_challenge()])
                }
            },
            State::Verdict if message == FAILURE => Err(AuthenticationError::Refused),
            State::Verdict | State::Done => Err(garbage("neither welcome nor failure")),
        }
    }

    /// Returns what a side says that breaks off, if the other waits for it.
    pub(crate) fn farewell(&self) -> Option<&'static [u8]> {
        (self.state == State::Proof).then_some(FAILURE)
    }

    /// Returns true if both sides have proved the key.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Answers the other side's challenge.
    fn prove(&self, message: &[u8]) -> Result<Vec<u8>, AuthenticationError> {
        let challenge = message.strip_prefix(CHALLENGE).ok_or_else(|| garbage("no challenge"))?;
        let Some(random) = challenge.strip_prefix(SHA256) else {
            return Err(garbage("a challenge for another hash than SHA-256"));
        };
        // A short challenge might come again, and an old answer with it.
        if random.len() < MIN_CHALLENGE {
            return Err(garbage("a challenge that is too short"));
        }
        // To sign it would be to prove our key to somebody who holds our own challenge, or
        // another's of our kind, out to us.
        if random.starts_with(self.side.mark()) || challenge == self.challenge {
            return Err(garbage("a challenge that was made for somebody else"));
        }
        Ok([SHA256, &HMAC::mac(challenge, &*self.key.0)].concat())
    }

    /// Checks the other side's answer to ours.
    fn verify(&self, message: &[u8]) -> Result<(), AuthenticationError> {
        let Some(digest) = message.strip_prefix(SHA256) else {
            return Err(garbage("an answer by another hash than SHA-256"));
        };
        // In a time that does not depend on where they differ.
        let is_right = <&[u8; 32]>::try_from(digest)
            .is_ok_and(|digest| HMAC::verify(&self.challenge, &*self.key.0, digest));
        if is_right { Ok(()) } else { Err(AuthenticationError::WrongKey) }
    }
}

fn garbage(what: &str) -> AuthenticationError {
    AuthenticationError::Garbage(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(side: Side, key: &str) -> Handshake {
        Handshake::new(side, Key::new(key.as_bytes())).expect("handshake")
    }

    /// Lets two talk until nobody has anything to say.
    fn talk(listener: &mut Handshake, client: &mut Handshake) -> Result<(), AuthenticationError> {
        let mut to_client: Vec<Vec<u8>> = listener.opening().into_iter().collect();
        let mut to_listener: Vec<Vec<u8>> = client.opening().into_iter().collect();
        while !(to_client.is_empty() && to_listener.is_empty()) {
            for message in std::mem::take(&mut to_client) {
                assert!(message.len() as u64 <= LONGEST);
                to_listener.extend(client.received(&message)?);
            }
            for message in std::mem::take(&mut to_listener) {
                to_client.extend(listener.received(&message)?);
            }
        }
        Ok(())
    }

    #[test]
    fn proofs_are_those_of_the_standard() {
        // RFC 4231, test cases 2 and 6: a key shorter than a block, and one that is longer.
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, proof) in cases {
            let shown: String =
                HMAC::mac(message, key).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, proof);
        }
    }

    #[test]
    fn the_same_key_opens() {
        for key in ["secret", "", &"long".repeat(100)] {
            let (mut listener, mut client) = (side(Side::Listener, key), side(Side::Client, key));
            talk(&mut listener, &mut client).expect("talk");
            assert!(listener.is_done() && client.is_done());
        }
    }

    #[test]
    fn another_key_does_not() {
        let (mut listener, mut client) =
            (side(Side::Listener, "secret"), side(Side::Client, "guess"));
        let error = talk(&mut listener, &mut client).expect_err("another key");
        assert!(matches!(error, AuthenticationError::WrongKey), "{error}");
        assert_eq!(listener.farewell(), Some(FAILURE));
        assert!(matches!(client.received(FAILURE), Err(AuthenticationError::Refused)));
        assert!(!listener.is_done() && !client.is_done());
    }

    #[test]
    fn what_is_held_out_to_its_maker_is_not_signed() {
        // A listener without the key has a second client sign the challenge of the first.
        let (mut first, mut second) = (side(Side::Client, "secret"), side(Side::Client, "secret"));
        let bait = [CHALLENGE, SHA256, &[7; 40]].concat();
        first.received(&bait).expect("any client answers first");
        let challenge = first.received(WELCOME).expect("its turn").remove(0);
        assert!(matches!(second.received(&challenge), Err(AuthenticationError::Garbage(_))));
        // And the first one itself.
        let mut mirror = side(Side::Client, "secret");
        mirror.challenge = challenge[CHALLENGE.len()..].to_vec();
        assert!(mirror.received(&challenge).is_err());
        // A listener signs nothing before it has a proof, and never a listener's challenge.
        let mut listener = side(Side::Listener, "secret");
        assert!(listener.received(&bait).is_err());
        listener.state = State::Challenge;
        assert!(listener.received(&side(Side::Listener, "secret").own_challenge()).is_err());
    }

    #[test]
    fn garbage_is_refused_in_every_state() {
        for state in [State::Challenge, State::Proof, State::Verdict, State::Done] {
            for role in [Side::Listener, Side::Client] {
                for message in [
                    b"".as_slice(),
                    b"#CHALLENGE#",
                    b"#CHALLENGE#{sha256}short",
                    b"{sha256}",
                    &[0; 256],
                ] {
                    let mut handshake = side(role, "secret");
                    handshake.state = state;
                    assert!(handshake.received(message).is_err(), "{state:?} {message:?}");
                }
            }
        }
        // The forms of CPython before 3.12: 20 bytes to be signed with MD5.
        let mut client = side(Side::Client, "secret");
        assert!(client.received(&[CHALLENGE, &[7; 20]].concat()).is_err());
        let mut listener = side(Side::Listener, "secret");
        assert!(listener.received(&[7; 16]).is_err());
    }
}
