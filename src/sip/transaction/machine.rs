//! The machine of a transaction, whichever of the four it is.

use std::time::Instant;

use super::client::Client;
use super::client_invite::ClientInvite;
use super::server::Server;
use super::server_invite::ServerInvite;

#[derive(Debug)]
pub(super) enum ClientMachine {
    Other(Client),
    Invite(ClientInvite),
}

#[derive(Debug)]
pub(super) enum ServerMachine {
    Other(Server),
    Invite(ServerInvite),
}

impl ClientMachine {
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Other(machine) => Some(machine.deadline()),
            Self::Invite(machine) => machine.deadline(),
        }
    }
}

impl ServerMachine {
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Other(machine) => machine.deadline(),
            Self::Invite(machine) => machine.deadline(),
        }
    }

    pub fn is_completed(&self) -> bool {
        match self {
            Self::Other(machine) => machine.is_completed(),
            Self::Invite(machine) => machine.is_completed(),
        }
    }
}
