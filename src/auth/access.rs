//! Decides which circles are served, and what a caller may do in them.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    sync::Arc,
};

use arc_swap::ArcSwap;
use circled_protocol::{Grant, PublicKey, Role, Vocabulary};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::SecretSource;
use crate::units::{Size, Text};

/// The `[circles]` settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CirclesSettings {
    /// Serves every key as a circle; any caller may play.
    pub open: bool,
    /// Permits `open` on an address that other machines can reach.
    pub allow_open: bool,
    /// The callers that may run scripts of their own.
    pub play: Rule,
    /// The callers that may run the circle's named scripts.
    pub call: Rule,
    /// The callers that may subscribe to events.
    pub subscribe: Rule,
    /// The callers that may change named scripts and members, and read deliveries.
    pub manage: Rule,
    /// The most members that a circle may have, beside those of the settings.
    pub max_members: NonZeroUsize,
    /// The most named scripts that a circle may have.
    pub max_scripts: NonZeroUsize,
    /// The number of versions of a script that are kept.
    pub script_versions: NonZeroUsize,
    /// The most queries that all circles' sessions may watch.
    pub max_queries: NonZeroUsize,
    /// The most bytes that those keep.
    pub query_bytes: Size<{ 1 << 20 }>,
}

/// One `[[circle]]` of the settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// The circle's own key, whose holder is its owner.
    pub key: PublicKey,
    /// The fixed members. Others are added at run time.
    #[serde(default)]
    pub members: Vec<PublicKey>,
    /// The circle's own rule; without it, the one of `[circles]` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<Rule>,
    /// The circle's own rule, like `play`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Rule>,
    /// The circle's own rule, like `play`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Rule>,
    /// The circle's own rule, like `play`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage: Option<Rule>,
    /// The webhook secrets of this circle alone, by provider. They replace the provider's own secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Vec<SecretSource>>,
    /// The owner's grant for this server's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// The circle's number in the settings file, from 0.
    #[serde(skip)]
    pub number: usize,
}

impl Circle {
    /// Returns the keys that the settings list, each with the role that its list gives.
    fn listed(&self) -> impl Iterator<Item = (PublicKey, Role)> {
        self.members.iter().map(|member| (*member, Role::Member))
    }
}

/// A rule of the settings: the callers that may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The default: guests of an open server and members of a closed one; to manage, the owner.
    Auto,
    /// Every caller, without a login.
    Anyone,
    /// Callers of this role or a higher one.
    Least(Role),
}

/// An action that needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Running one's own script.
    Play,
    /// Running a named script of the circle.
    Call,
    /// Receiving events.
    Subscribe,
    /// Changing named scripts and members, and reading deliveries.
    Manage,
}

impl Action {
    const ALL: [Self; 4] = [Self::Play, Self::Call, Self::Subscribe, Self::Manage];
}

/// The reason why an action is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The caller has not logged in.
    Unauthenticated,
    /// The caller has less than this role.
    Needs(Role),
}

/// The highest role that a circle's own list can give: the one below the owner's.
pub const HIGHEST_LISTED: Role = Role::ALL[Role::ALL.len() - 2];

/// Decides if a caller may do something that needs the role `needs` (`None`: no login). `fixed` is the caller's role
/// by the settings and the circle's key (`None`: not logged in). Returns the role that the circle's own list must give
/// the caller at the moment of the action; nothing if the action is permitted anyway.
///
/// # Errors
/// No list can give the caller what the action needs.
pub fn decide(needs: Option<Role>, fixed: Option<Role>) -> Result<Option<Role>, Denied> {
    match (needs, fixed) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(Denied::Unauthenticated),
        (Some(needs), Some(role)) if role >= needs => Ok(None),
        (Some(needs), Some(_)) if needs <= HIGHEST_LISTED => Ok(Some(needs)),
        (Some(needs), Some(_)) => Err(Denied::Needs(needs)),
    }
}

/// Knows which circles are served, and each caller's role in them. The policy can be replaced while it is in use, and
/// reading it takes no lock.
#[derive(Debug)]
pub struct Access(ArcSwap<Policy>);

#[derive(Debug)]
struct Policy {
    open: bool,
    common: Rules,
    circles: HashMap<PublicKey, CircleRules>,
    /// Differs between policies that differ.
    digest: Arc<str>,
}

/// The two policies of a replacement.
#[derive(Debug)]
pub struct Change {
    before: Arc<Policy>,
    after: Arc<Policy>,
}

/// The settings of one circle.
#[derive(Debug, Clone)]
struct CircleRules {
    rules: Rules,
    /// The roles that the settings give.
    members: HashMap<PublicKey, Role>,
}

/// The least role for each action; `None`: no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    play: Option<Role>,
    call: Option<Role>,
    subscribe: Option<Role>,
    manage: Option<Role>,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Anyone => "anyone",
            Self::Least(role) => role.name(),
        })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let roles: String = Role::ALL.iter().map(|role| format!(", `{role}`")).collect();
        deserializer.deserialize_str(Text {
            parse: |word| match word {
                "auto" => Some(Self::Auto),
                "anyone" => Some(Self::Anyone),
                role => role.parse().ok().map(Self::Least),
            },
            expected: &format!("one of `auto`, `anyone`{roles}"),
        })
    }
}

impl Rule {
    fn least(self, auto: Role) -> Option<Role> {
        match self {
            Self::Auto => Some(auto),
            Self::Anyone => None,
            Self::Least(role) => Some(role),
        }
    }
}

impl Access {
    /// Builds the policy from the settings.
    pub fn new(common: &CirclesSettings, circles: &[Circle]) -> Self {
        Self(ArcSwap::from_pointee(Policy::new(common, circles)))
    }

    /// Replaces the policy.
    pub fn replace(&self, common: &CirclesSettings, circles: &[Circle]) -> Change {
        let after = Arc::new(Policy::new(common, circles));
        let before = self.0.swap(after.clone());
        Change { before, after }
    }

    /// Returns a digest that is equal on servers with the same policy.
    pub fn digest(&self) -> Arc<str> {
        self.0.load().digest.clone()
    }

    /// Returns true if this server serves `circle`.
    pub fn serves(&self, circle: &PublicKey) -> bool {
        self.0.load().serves(circle)
    }

    /// Returns true if the settings list `circle`.
    pub fn lists(&self, circle: &PublicKey) -> bool {
        self.0.load().circles.contains_key(circle)
    }

    /// Returns the role of the holder of `key` in `circle`, by the settings and the circle's key alone.
    pub fn fixed_role(&self, circle: &PublicKey, key: &PublicKey) -> Role {
        self.0.load().fixed_role(circle, key)
    }

    /// Returns the members that the settings give a circle.
    pub fn fixed_members(&self, circle: &PublicKey) -> Vec<PublicKey> {
        let policy = self.0.load();
        let members = policy.members(circle);
        let mut members: Vec<_> = members
            .into_iter()
            .flat_map(HashMap::keys)
            .copied()
            .collect();
        members.sort_by_key(|member| *member.as_bytes());
        members
    }

    /// Returns the least role for an action in `circle`; `None`: no login is needed.
    pub fn needs(&self, circle: &PublicKey, action: Action) -> Option<Role> {
        self.0.load().needs(circle, action)
    }

    /// Returns true if a session of `circle` can do something without a login.
    pub fn serves_anyone(&self, circle: &PublicKey) -> bool {
        let policy = self.0.load();
        Action::ALL
            .into_iter()
            .any(|action| policy.needs(circle, action).is_none())
    }
}

impl Policy {
    fn new(common: &CirclesSettings, circles: &[Circle]) -> Self {
        let auto = if common.open {
            Role::Guest
        } else {
            Role::Member
        };
        let rules = |play: Rule, call: Rule, subscribe: Rule, manage: Rule| Rules {
            play: play.least(auto),
            call: call.least(auto),
            subscribe: subscribe.least(auto),
            manage: manage.least(Role::Owner),
        };
        let mut configured: HashMap<PublicKey, CircleRules> = HashMap::new();
        for circle in circles {
            let rules = rules(
                circle.play.unwrap_or(common.play),
                circle.call.unwrap_or(common.call),
                circle.subscribe.unwrap_or(common.subscribe),
                circle.manage.unwrap_or(common.manage),
            );
            let members = HashMap::new();
            let configured = configured
                .entry(circle.key)
                .or_insert(CircleRules { rules, members });
            for (member, role) in circle.listed() {
                let held = configured.members.entry(member).or_insert(role);
                *held = role.max(*held);
            }
        }
        let common_rules = rules(common.play, common.call, common.subscribe, common.manage);
        Self {
            digest: digest(common.open, common_rules, &configured),
            open: common.open,
            common: common_rules,
            circles: configured,
        }
    }

    fn serves(&self, circle: &PublicKey) -> bool {
        self.open || self.circles.contains_key(circle)
    }

    fn members(&self, circle: &PublicKey) -> Option<&HashMap<PublicKey, Role>> {
        self.circles
            .get(circle)
            .map(|configured| &configured.members)
    }

    fn fixed_role(&self, circle: &PublicKey, key: &PublicKey) -> Role {
        if key == circle {
            return Role::Owner;
        }
        let listed = self.members(circle).and_then(|members| members.get(key));
        listed.copied().unwrap_or(Role::Guest)
    }

    fn needs(&self, circle: &PublicKey, action: Action) -> Option<Role> {
        let rules = match self.circles.get(circle) {
            Some(configured) => &configured.rules,
            None => &self.common,
        };
        match action {
            Action::Play => rules.play,
            Action::Call => rules.call,
            Action::Subscribe => rules.subscribe,
            Action::Manage => rules.manage,
        }
    }
}

fn digest(open: bool, common: Rules, circles: &HashMap<PublicKey, CircleRules>) -> Arc<str> {
    let rules = |rules: Rules| {
        let least = [rules.play, rules.call, rules.subscribe, rules.manage];
        least
            .map(|role| role.map_or("anyone", Role::name))
            .join(" ")
    };
    let mut hash = Sha256::new();
    hash.update([u8::from(open)]);
    hash.update(rules(common));
    // On an open server, a circle without rules of its own behaves like one that isn't listed.
    let is_default = |configured: &CircleRules| {
        open && configured.members.is_empty() && configured.rules == common
    };
    let circles = circles
        .iter()
        .filter(|(_, configured)| !is_default(configured));
    let mut circles: Vec<_> = circles.collect();
    circles.sort_unstable_by_key(|(circle, _)| *circle.as_bytes());
    for (circle, configured) in circles {
        let mut members: Vec<_> = configured.members.iter().collect();
        members.sort_unstable_by_key(|(member, _)| *member.as_bytes());
        hash.update(circle.as_bytes());
        hash.update(rules(configured.rules));
        hash.update(members.len().to_be_bytes());
        for (member, role) in members {
            hash.update(member.as_bytes());
            // Earlier versions know only this role in the settings, and have the same digest.
            if *role != Role::Member {
                hash.update(role.name());
            }
        }
    }
    hex::encode(&hash.finalize()[..8]).into()
}

impl Change {
    /// Returns true if somebody in `circle` may do less than before.
    pub fn narrows(&self, circle: &PublicKey) -> bool {
        let Self { before, after } = self;
        let stricter = |action| after.needs(circle, action) > before.needs(circle, action);
        let stays = |(member, _): (&PublicKey, &Role)| {
            after.fixed_role(circle, member) >= before.fixed_role(circle, member)
        };
        before.serves(circle) && !after.serves(circle)
            || Action::ALL.into_iter().any(stricter)
            || !before.members(circle).into_iter().flatten().all(stays)
    }

    /// Returns true if the settings give `circle` other members than before, or other roles.
    pub fn changes_members(&self, circle: &PublicKey) -> bool {
        let members = |policy: &Policy| policy.members(circle).cloned().unwrap_or_default();
        members(&self.before) != members(&self.after)
    }
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::{Role::*, *};

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_hex(&hex::encode([seed; 32]))
            .unwrap()
            .public()
    }

    fn common(open: bool) -> CirclesSettings {
        CirclesSettings {
            open,
            allow_open: false,
            play: Rule::Auto,
            call: Rule::Auto,
            subscribe: Rule::Auto,
            manage: Rule::Auto,
            max_members: NonZeroUsize::new(10).unwrap(),
            max_scripts: NonZeroUsize::new(10).unwrap(),
            script_versions: NonZeroUsize::new(2).unwrap(),
            max_queries: NonZeroUsize::new(10).unwrap(),
            query_bytes: Size::new(1 << 20).unwrap(),
        }
    }

    fn circle(key: PublicKey, members: Vec<PublicKey>) -> Circle {
        Circle {
            key,
            members,
            play: None,
            call: None,
            subscribe: None,
            manage: None,
            secrets: BTreeMap::new(),
            grant: None,
            number: 0,
        }
    }

    #[test]
    fn the_whole_policy() {
        use Denied::{Needs, Unauthenticated};

        let table = [
            (None, None, Ok(None)),
            (None, Some(Guest), Ok(None)),
            (None, Some(Member), Ok(None)),
            (None, Some(Owner), Ok(None)),
            (Some(Guest), None, Err(Unauthenticated)),
            (Some(Guest), Some(Guest), Ok(None)),
            (Some(Guest), Some(Member), Ok(None)),
            (Some(Guest), Some(Owner), Ok(None)),
            (Some(Member), None, Err(Unauthenticated)),
            (Some(Member), Some(Guest), Ok(Some(Member))),
            (Some(Member), Some(Member), Ok(None)),
            (Some(Member), Some(Owner), Ok(None)),
            (Some(Owner), None, Err(Unauthenticated)),
            (Some(Owner), Some(Guest), Err(Needs(Owner))),
            (Some(Owner), Some(Member), Err(Needs(Owner))),
            (Some(Owner), Some(Owner), Ok(None)),
        ];
        for (needs, fixed, decision) in table {
            assert_eq!(decide(needs, fixed), decision, "{needs:?} of {fixed:?}");
        }
    }

    #[test]
    fn the_settings_rules_become_roles() {
        let own = Circle {
            play: Some(Rule::Anyone),
            call: Some(Rule::Least(Owner)),
            subscribe: Some(Rule::Least(Guest)),
            manage: Some(Rule::Least(Member)),
            ..circle(key(1), Vec::new())
        };
        let actions = [
            Action::Play,
            Action::Call,
            Action::Subscribe,
            Action::Manage,
        ];
        let plain = circle(key(2), Vec::new());
        let guest = [Some(Guest), Some(Guest), Some(Guest), Some(Owner)];
        let member = [Some(Member), Some(Member), Some(Member), Some(Owner)];
        let of_its_own = [None, Some(Owner), Some(Guest), Some(Member)];
        for (open, number, needs) in [
            (true, 2, guest),
            (true, 3, guest),
            (false, 2, member),
            (false, 3, member),
            (true, 1, of_its_own),
            (false, 1, of_its_own),
        ] {
            let access = Access::new(&common(open), &[own.clone(), plain.clone()]);
            let found = actions.map(|action| access.needs(&key(number), action));
            assert_eq!(found, needs, "circle {number}, open: {open}");
            assert_eq!(access.serves_anyone(&key(number)), number == 1);
        }
    }

    #[test]
    fn a_closed_server_knows_its_circles_and_members() {
        let (own, member, other) = (key(1), key(2), key(3));
        let access = Access::new(&common(false), &[circle(own, vec![member])]);
        assert!(access.serves(&own) && !access.serves(&other));
        assert_eq!(access.fixed_role(&own, &own), Owner);
        assert_eq!(access.fixed_role(&own, &member), Member);
        assert_eq!(access.fixed_role(&own, &other), Guest);
        assert_eq!(access.fixed_members(&own), [member]);
    }

    #[test]
    fn a_change_takes_from_those_who_may_do_less() {
        let listed = |members: &[u8]| circle(key(1), members.iter().map(|n| key(*n)).collect());
        let owned = Circle {
            play: Some(Rule::Least(Owner)),
            ..listed(&[2])
        };
        let all = (true, vec![]);
        let (one, two) = ((false, vec![listed(&[2])]), (false, vec![listed(&[2, 3])]));
        let (owner, other) = (
            (false, vec![owned.clone()]),
            (false, vec![circle(key(4), vec![])]),
        );
        for (before, after, takes) in [
            (&all, &all, false),
            (&one, &two, false),
            (&two, &one, true),
            (&one, &owner, true),
            (&owner, &one, false),
            (&one, &other, true),
            (&other, &one, false),
            (&all, &one, true),
            (&all, &(true, vec![owned]), true),
        ] {
            let access = Access::new(&common(before.0), &before.1);
            let change = access.replace(&common(after.0), &after.1);
            assert_eq!(change.narrows(&key(1)), takes, "{before:?} {after:?}");
            assert_eq!(access.serves(&key(1)), after.0 || after.1[0].key == key(1));
        }
    }

    #[test]
    fn the_digest_tells_policies_apart() {
        let circle = |n: u8, members: &[u8], play: Option<Rule>| Circle {
            play,
            ..circle(key(n), members.iter().map(|n| key(*n)).collect())
        };
        let digest = |open, circles: &[Circle]| Access::new(&common(open), circles).digest();
        let one = [circle(1, &[2, 3], None), circle(4, &[], None)];
        let same = [circle(4, &[], None), circle(1, &[3, 2, 3], None)];
        assert_eq!(digest(false, &one), digest(false, &same));
        for other in [
            &[circle(1, &[2, 3], None)][..],
            &[circle(1, &[2], None), circle(4, &[3], None)],
            &[
                circle(1, &[2, 3], Some(Rule::Least(Owner))),
                circle(4, &[], None),
            ],
        ] {
            assert_ne!(digest(false, &one), digest(false, other));
        }
        assert_ne!(digest(false, &one), digest(true, &one));
        assert_eq!(digest(true, &one), digest(true, &one[..1]));
    }

    #[test]
    fn an_open_server_serves_any_circle() {
        let access = Access::new(&common(true), &[]);
        assert!(access.serves(&key(1)));
        assert_eq!(access.needs(&key(1), Action::Play), Some(Guest));
        assert!(access.fixed_members(&key(1)).is_empty());
    }
}
