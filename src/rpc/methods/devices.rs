//! The caller's device keys.

use circled_protocol::{
    DeviceClaim, LoginRefusal,
    methods::{AddDeviceKey, ListDeviceKeys, RemoveDeviceKey},
};
use jiff::Timestamp;

use super::runs::{Raw, perform};
use crate::{
    circle::Procedure,
    rpc::{Admitted, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs},
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<AddDeviceKey>(),
    Method::of::<ListDeviceKeys>(),
    Method::of::<RemoveDeviceKey>(),
];

/// The most characters of a label.
const LONGEST_LABEL: usize = 64;
/// Seconds by which the clock of a client may be ahead.
const CLOCK_ERROR: i64 = 300;

impl Call for AddDeviceKey {
    const NEEDS: Needs = Needs::Proof;
    const DEVICE: DeviceNeeds = DeviceNeeds::OwnKey;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<Raw> {
        // Whoever may do nothing here must not fill the circle's store.
        let admitted = context.permits_anything()?;
        let caller = admitted.key.ok_or(Error::AuthenticationRequired)?;
        check(context, &params)?;
        let claim = DeviceClaim {
            circle: context.circle,
            caller,
            key: params.pubkey,
            scope: params.scope.clone(),
            expires: params.expires_at,
        };
        let proved = claim.key.verify(&claim.text(), &params.proof);
        proved.map_err(|_| Error::InvalidCredentials(LoginRefusal::BadSignature))?;
        perform(context, admitted, Procedure::AddDeviceKey(params))
    }
}

impl Call for ListDeviceKeys {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Raw> {
        perform(context, admitted, Procedure::ListDeviceKeys)
    }
}

impl Call for RemoveDeviceKey {
    const NEEDS: Needs = Needs::Login;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = Raw;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Raw> {
        let Self { pubkey } = params;
        perform(context, admitted, Procedure::RemoveDeviceKey { pubkey })
    }
}

/// Checks the label and the time of expiry of a new device key.
fn check(context: &Context, new: &AddDeviceKey) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::InvalidParams { reason });
    let length = new.label.chars().count();
    if !(1..=LONGEST_LABEL).contains(&length) || new.label.chars().any(char::is_control) {
        return invalid(format!(
            "`label` must have 1 to {LONGEST_LABEL} characters, and no line breaks"
        ));
    }
    if new.expires_at.subsec_nanosecond() != 0 {
        return invalid("`expires_at` must be in whole seconds".to_owned());
    }
    let left = new.expires_at.as_second() - Timestamp::now().as_second();
    if left <= 0 {
        return invalid("`expires_at` is not in the future".to_owned());
    }
    let longest = context.shared.device_key_ttl.as_secs();
    if u64::try_from(left - CLOCK_ERROR).is_ok_and(|left| left > longest) {
        return invalid(format!(
            "`expires_at` is more than auth.device_key_ttl ({longest} s) from now"
        ));
    }
    Ok(())
}
