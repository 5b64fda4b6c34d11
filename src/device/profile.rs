//! Device profiles: what a model of appliance can do and how it is spoken to.
//!
//! A [`Profile`] is one file of `device-profiles/`. [`Profile::instantiate`] fills in its params and
//! the overrides of the home file and makes a [`Model`], which is all that the house works with.

mod actions;
mod buses;
mod cases;
mod decode;
mod discover;
mod duration;
mod elsewhere;
mod fill;
mod harmless;
mod linking;
mod map;
mod model;
mod needs;
mod properties;
mod registers;
mod serial;
mod template;
mod texts;
mod transport;
mod typed;
mod words;

use std::sync::Arc;

pub use cases::{Case, Drive, Expect, Given, Level, Sends, Stimulus};
pub use discover::{Sign, text as json_text};
pub use duration::spell;
pub use map::Map;
pub use model::{
    Action, Arg, Category, Clicks, LampRule, Model, Momentary, Notify, Online, Phone, Property, Read, Source,
    Target, Write,
};
pub use needs::{DriverKind, LinkNeeds, MeterNeeds, ModbusNeeds, Query, SerialNeeds, Watched};
pub use registers::{Form, Number, Order, Registers, Table};
pub use template::{Body, Hole, HoleForm, Template};
pub use words::PROFILE;

use crate::config::fault::{Faults, Place};
use crate::config::yaml::Node;

/// One profile file, checked with the example values of its params.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id; also the file name.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// What kind of appliance it is: `lamp`, `thermostat`.
    pub kind: Option<Arc<str>>,
    /// Hints for people, such as a setting that the appliance needs.
    pub about: Option<Arc<str>>,
    /// What the home file must or may give.
    pub params: Vec<Param>,
    /// What proposes a device of this model when it is seen on a broker.
    pub discover: Vec<Sign>,
    /// The profile's own tests, about [`Profile::example`].
    pub cases: Vec<Case>,
    /// The model with the example or default value of each param.
    pub example: Arc<Model>,
    source: Arc<Node>,
}

/// What the home file must (no default) or may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name between the angle brackets.
    pub name: String,
    /// For people.
    pub about: Option<String>,
    /// A value that could stand there; the profile's tests use it.
    pub example: Option<String>,
    /// Used when the home file says nothing.
    pub default: Option<String>,
}

impl Profile {
    /// Reads a profile. Every mistake is added to `faults`; `None` when it cannot be used.
    pub fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        decode::profile(node, faults)
    }

    /// Makes the profile concrete for one device. `path` is the device's key path in the home file
    /// (`devices.coffee`), `place` where the device stands; faults are those of the home file.
    pub fn instantiate(
        &self,
        path: &str,
        place: Place,
        params: Option<&Node>,
        overrides: Option<&Node>,
        faults: &mut Faults,
    ) -> Option<Model> {
        decode::instantiate(self, &fill::Home { path, place, params, overrides }, faults)
    }

    /// Makes the profile concrete for an appliance that hangs on another gateway: its params are
    /// that gateway's business.
    pub fn instantiate_elsewhere(
        &self,
        path: &str,
        place: Place,
        overrides: Option<&Node>,
        faults: &mut Faults,
    ) -> Option<Model> {
        let home = fill::Home { path, place, params: None, overrides };
        decode::instantiate_example(self, &home, faults).map(Model::elsewhere)
    }
}

#[cfg(test)]
mod tests;
