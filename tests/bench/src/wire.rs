//! A client's and a server's tap with a switch between them.

use crate::{
    error::Error,
    frame::{Direction, Template},
    generator::{self, Connections, Limit, Reading, Traffic},
    interrupt::Interrupt,
    tap::Tap,
    world::Ends,
};

/// Two taps with a peer between them.
pub struct Wire<'a> {
    /// Of the one that opens connections.
    pub client: &'a Tap,
    /// Of the one that answers.
    pub server: &'a Tap,
    /// Their addresses.
    pub ends: Ends,
    /// Ends a reading early.
    pub interrupt: &'a Interrupt,
}

impl Wire<'_> {
    /// Sends towards the end that the template is for.
    pub fn send(
        &self,
        template: Template,
        connections: Connections,
        window: u64,
        limit: Limit,
    ) -> Result<Reading, Error> {
        let (taps, receiver) = match template.direction() {
            Direction::Forward => ((self.client, self.server), self.ends.server.ip),
            Direction::Reply => ((self.server, self.client), self.ends.client.ip),
        };
        let mut traffic = Traffic { template, connections, receiver, window };
        generator::run(taps, &mut traffic, limit, self.interrupt)
    }
}
