//! One message that comes too early: QEMU enables the queues of a card when it is reset, before it has
//! said which features were negotiated. To the `vhost` crate that is the end of the connection.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use rustix::net::{RecvFlags, recv};
use vhost::vhost_user::Result;

/// Bytes of a message's header: request, flags, size of the body; and of this one's body.
const HEADER: usize = 12;
const BODY: usize = 8;
/// `VHOST_USER_SET_VRING_ENABLE`.
const ENABLE: u32 = 18;
/// Flags: the version; an answer; an answer is wanted.
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Takes the next message out of the socket if it is this one, and answers it. Waits for a message;
/// any other one is left where it is.
pub fn take(socket: &mut UnixStream, enable: impl FnOnce(u32, bool) -> Result<()>) -> bool {
    let mut header = [0; HEADER];
    let looked = recv(&*socket, &mut header[..], RecvFlags::PEEK | RecvFlags::WAITALL);
    let [request, flags, size] = words(&header);
    let is_it = request == ENABLE && size as usize == BODY;
    if !looked.is_ok_and(|(_, bytes)| bytes == HEADER) || !is_it {
        return false;
    }
    let mut whole = [0; HEADER + BODY];
    if socket.read_exact(&mut whole).is_err() {
        return false;
    }
    let [_, _, _, index, state] = words(&whole);
    let refused = enable(index, state == 1).is_err();
    if flags & NEED_REPLY != 0 {
        let head = [ENABLE, VERSION | REPLY, BODY as u32].map(u32::to_le_bytes);
        let body = u64::from(refused).to_le_bytes();
        // A front end that is gone is seen by whoever waits for its next message.
        let _ = socket.write_all(&[head.as_flattened(), &body].concat());
    }
    true
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(request: u32, flags: u32) -> Vec<u8> {
        [request, flags, 8, 1, 1].map(u32::to_le_bytes).concat()
    }

    #[test]
    fn this_message_is_taken_and_others_are_left() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&message(ENABLE, VERSION | NEED_REPLY)).unwrap();
        theirs.write_all(&message(2, VERSION)).unwrap();
        let mut got = None;
        let mut enable = |index, on| {
            got = Some((index, on));
            Ok(())
        };
        assert!(take(&mut ours, &mut enable));
        assert!(!take(&mut ours, &mut enable));
        assert_eq!(got, Some((1, true)));
        let mut answer = [0; HEADER + BODY];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(words::<5>(&answer), [ENABLE, VERSION | REPLY, 8, 0, 0]);
        let mut left = [0; HEADER + BODY];
        ours.read_exact(&mut left).unwrap();
        assert_eq!(words::<1>(&left), [2]);
    }
}
