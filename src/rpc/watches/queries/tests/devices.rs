//! Watches of callers who act by a device.

use circled_protocol::{DeviceKey, Permission};

use super::*;

#[test]
fn nobody_is_told_of_a_commit_after_their_device_key_is_gone() {
    let mut world = World::new();
    world.sync();
    let device = DeviceKey::from_stored([2; DeviceKey::LENGTH]);
    let acting = Caller::Device {
        key: public(0),
        device,
    };
    world.watch_as(acting.clone(), 1, 0, None);
    let log = world.watches[0].log.clone();
    // It runs for all of its caller's devices alike.
    assert!(world.start());
    world.finish(0);
    assert!(!log.borrow().has_begun, "the key is read first");
    let (id, needs, caller) = world.queries.next_confirm().unwrap();
    assert_eq!((needs, caller), (Permission::Play, acting));
    world.queries.on_role(id, None);
    assert!(log.borrow().has_begun);
    // The key's record changes, and after that the value.
    let state = world.state().clone();
    world.commit(state, circle::device_record_key(&device));
    world.step(Step::Write(0, 7));
    while world.deliver() {}
    assert!(world.start());
    world.finish(0);
    let (id, ..) = world.queries.next_confirm().unwrap();
    assert_eq!(
        log.borrow().last.as_deref(),
        Some("0"),
        "the key is read before"
    );
    world.queries.on_device(id, RunError::UnknownDevice);
    let log = log.borrow();
    assert!(log.has_ended);
    assert_eq!(log.last.as_deref(), Some("0"), "it was never told");
}
