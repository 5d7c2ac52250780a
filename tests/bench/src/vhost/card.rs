//! What a guest sends and receives by: rings in its memory, or a tap.

use super::nic::{Arrived, Nic, Receiver, Sender};
use crate::{
    error::Error,
    frame::Template,
    tap::{READ_BUFFER, Tap},
};

/// A guest's card.
pub enum Card {
    /// Of a vhost-user port.
    Rings(Box<Nic>),
    /// Of a tap port.
    Tap(Tap),
}

/// By which frames of one kind are sent.
pub enum Sending<'a> {
    /// Rings.
    Rings(Sender<'a>),
    /// A tap, and the frame that is written into it.
    Tap(&'a Tap, Template),
}

/// By which frames are received.
pub enum Receiving<'a> {
    /// Rings.
    Rings(Receiver<'a>),
    /// A tap, and room for a frame.
    Tap(&'a Tap, Vec<u8>),
}

impl Card {
    /// Its way to send frames that are like this one.
    pub fn sending(&mut self, template: &Template) -> Sending<'_> {
        match self {
            Self::Rings(nic) => {
                nic.prepare(template.with_vnet_header());
                Sending::Rings(nic.sender(template.with_vnet_header().len()))
            }
            Self::Tap(tap) => Sending::Tap(tap, template.clone()),
        }
    }

    /// Its way to receive.
    pub fn receiving(&mut self) -> Receiving<'_> {
        match self {
            Self::Rings(nic) => Receiving::Rings(nic.receiver()),
            Self::Tap(tap) => Receiving::Tap(tap, vec![0; READ_BUFFER]),
        }
    }

    /// Does it take super-packets, and send them?
    pub fn takes_super_packets(&self) -> bool {
        match self {
            Self::Rings(nic) => nic.takes_super_packets(),
            Self::Tap(_) => true,
        }
    }
}

impl Sending<'_> {
    /// Wakes a switch that sleeps.
    pub fn wake(&mut self) {
        if let Self::Rings(sender) = self {
            sender.wake();
        }
    }

    /// Sends a few frames with the ports that come next, as far as there is room; how many.
    pub fn send(&mut self, most: u64, mut ports: impl FnMut() -> (u16, u16)) -> Result<u64, Error> {
        match self {
            Self::Rings(sender) => {
                let count = most.min(sender.reclaim() as u64);
                (0..count).for_each(|_| sender.send(ports()));
                if count > 0 {
                    sender.flush();
                }
                Ok(count)
            }
            Self::Tap(tap, template) => {
                for count in 0..most {
                    template.set_wire_ports(ports());
                    if !tap.write(template.with_vnet_header())? {
                        return Ok(count);
                    }
                }
                Ok(most)
            }
        }
    }
}

impl Receiving<'_> {
    /// Wakes a switch that waits for room.
    pub fn wake(&mut self) {
        if let Self::Rings(receiver) = self {
            receiver.wake();
        }
    }

    /// Everything that has come.
    pub fn receive(&mut self, mut each: impl FnMut(Arrived)) -> Result<(), Error> {
        match self {
            Self::Rings(receiver) => receiver.receive(each),
            Self::Tap(tap, buffer) => {
                while let Some(bytes) = tap.read(buffer)? {
                    Arrived::read(bytes).into_iter().for_each(&mut each);
                }
            }
        }
        Ok(())
    }
}
