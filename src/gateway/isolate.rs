//! The kill switch (draft-tsang-appliances-reqs §8.6.1): appliances that are cut off.

use super::Gateway;
use crate::config::access::Identity;
use crate::event::Subject;
use crate::sip::Rejection;

impl Gateway {
    /// Refuses what asks of an isolated appliance. Who may not know of it hears nothing new here.
    pub(super) fn check_isolation(
        &self,
        who: &Identity,
        subject: Subject,
        outside: bool,
    ) -> Result<(), Rejection> {
        let Subject::Device(id) = subject else { return Ok(()) };
        let isolated = self.house.device(id).is_some_and(|device| device.isolated());
        match isolated && self.may_see(who, id, outside) {
            true => Err(Rejection::new(480, "Isolated")),
            false => Ok(()),
        }
    }
}
