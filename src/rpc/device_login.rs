//! A session that has logged in by a device key: what its scope permits.

use std::sync::OnceLock;

use circled_protocol::{DeviceKey, Permission, Scope};

use super::{
    Context, DeviceNeeds, Error, Method,
    context::Admitted,
    device_sessions::{DeviceGuard, SessionEnding},
};
use crate::circle::DeviceRecord;

/// A login by a device key that was proved, while its record is read.
#[derive(Debug)]
pub(super) struct LoginUnderWay {
    pub(super) key: DeviceKey,
    pub(super) record: OnceLock<DeviceRecord>,
}

/// A login by a device key.
#[derive(Debug)]
pub(super) struct DeviceLogin {
    pub(super) key: DeviceKey,
    pub(super) scope: Scope,
    /// Ends the session with the key.
    pub(super) _guard: DeviceGuard,
}

impl Context {
    /// Returns true if a login is under way.
    pub(super) fn is_logging_in(&self) -> bool {
        self.login.is_some()
    }

    /// Returns what ends the session.
    pub(super) fn ending(&self) -> SessionEnding {
        SessionEnding {
            token: self.ending.clone(),
            in_flight_requests: self.in_flight_requests.clone(),
        }
    }

    /// Checks if the caller may use a method, as far as that can be decided at once.
    pub(super) fn admits(&self, method: &Method) -> Result<Admitted, Error> {
        if self.device.is_some() {
            match &method.device {
                DeviceNeeds::Nothing | DeviceNeeds::ToCall | DeviceNeeds::ToPlayOrCall => {}
                DeviceNeeds::Scope(needs) => self.check_device(needs)?,
                DeviceNeeds::Jobs => self.check_device(&Permission::Jobs)?,
                DeviceNeeds::OwnKey => self.check_own_key()?,
            }
        }
        self.permits(method.needs)
    }

    /// Checks if the scope of the session's device key, if it has one, has a permission.
    pub(super) fn check_device(&self, needs: &Permission) -> Result<(), Error> {
        match &self.device {
            Some(device) if !device.scope.permits(needs) => Err(Error::OutOfScope {
                needs: Some(needs.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// Checks the same for the permission to call a script; no device key may choose a version.
    pub(super) fn check_device_calls(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), Error> {
        match &self.device {
            Some(_) if version.is_some() => self.check_own_key(),
            Some(_) => self.check_device(&Permission::CallNamed(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Checks that the caller hasn't logged in by a device key.
    pub(super) fn check_own_key(&self) -> Result<(), Error> {
        match &self.device {
            Some(_) => Err(Error::OutOfScope { needs: None }),
            None => Ok(()),
        }
    }
}
