//! Everything that can be wrong with a policy: one list, with a stable code each.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_pipeline::addr::Mac;

use crate::diagnostic::Severity;

/// Declares [`Problem`] with its codes: a variant without a code does not compile.
macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $code:literal $text:literal $name:ident { $($field:ident: $ty:ty),* };)*) => {
        /// What is wrong.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs, reason = "the fields say what the message of the variant says")]
        pub enum Problem { $($(#[doc = $doc])+ #[error($text)] $name { $($field: $ty),* },)* }

        impl Problem {
            /// Its stable code: scripts and the manual refer to it.
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)* }
            }

            /// All codes, for the manual and the tests.
            pub const CODES: &'static [&'static str] = &[$($code),*];

            /// Each code, what it stands for in a few words, and its message with placeholders.
            pub const MEANINGS: &'static [(&'static str, &'static str, &'static str)] =
                &[$(($code, concat!($($doc),+), $text)),*];
        }
    };
}

problems! {
    /// Not YAML.
    "PC0001" "not valid YAML: {message}" Syntax { message: String };
    /// YAML that a policy does not use.
    "PC0002" "{what} are not supported in a policy" UnsupportedYaml { what: &'static str };
    /// A key twice in one mapping.
    "PC0003" "the key `{key}` stands here twice" DuplicateKey { key: String };
    /// A key that means nothing here.
    "PC0004" "unknown key `{key}` in {of}" UnknownKey { key: String, of: &'static str };
    /// A list where a mapping belongs, and so on.
    "PC0005" "{what} must be {expected}, this is {got}" WrongType { what: &'static str, expected: &'static str, got: &'static str };
    /// A key that must be there.
    "PC0006" "{of} needs the key `{key}`" MissingKey { key: &'static str, of: &'static str };
    /// A scalar that cannot be read.
    "PC0007" "`{got}` is not {expected}" BadValue { got: String, expected: &'static str };
    /// A value that the design has and this version has not.
    "PC0008" "{what} are not supported yet" NotSupportedYet { what: String };
    /// `include:` of something that is not there.
    "PC0009" "`{path}` cannot be included: {why}" CannotInclude { path: String, why: String };

    /// A name with characters that names do not have.
    "PC0101" "`{name}` cannot be a name" BadName { name: String };
    /// A name that means two things.
    "PC0102" "the name `{name}` is taken: it is already {first}" DuplicateName { name: String, first: &'static str };
    /// A name that the language has.
    "PC0103" "the name `{name}` has a meaning of its own" ReservedName { name: String };
    /// A name that nothing has.
    "PC0104" "no {wanted} is called `{name}`" UnknownName { name: String, wanted: &'static str };
    /// A set that contains itself.
    "PC0105" "the set `{name}` contains itself" SetCycle { name: String };
    /// Nothing is selected.
    "PC0106" "{what} selects nothing" EmptySelector { what: String };
    /// `{ all of: ..., not: ... }`.
    "PC0107" "a selector says one of `all of`, `any of` and `not`; this one says `{first}` and `{second}`" TwoCombinations { first: &'static str, second: &'static str };

    /// Outside 1..4094.
    "PC0201" "a VLAN id is a number from 1 to 4094, not `{got}`" BadVlan { got: String };
    /// Two networks with one id.
    "PC0202" "VLAN {vlan} already belongs to network `{other}`" VlanTaken { vlan: u16, other: String };
    /// Not a prefix.
    "PC0203" "`{got}` is not a prefix" BadPrefix { got: String };
    /// `10.0.0.1/24`.
    "PC0204" "`{got}` has bits set behind its prefix length" HostBits { got: IpNet };
    /// Subnets share addresses.
    "PC0205" "subnet {subnet} overlaps {other} of network `{network}`" SubnetOverlap { subnet: IpNet, other: IpNet, network: String };
    /// Multicast, loopback, link-local.
    "PC0206" "{got} cannot be used: {why}" UnusablePrefix { got: IpNet, why: &'static str };
    /// Too small or too large.
    "PC0207" "an MTU here is a number from {min} to {max}, not `{got}`" BadMtu { got: String, min: u32, max: u32 };
    /// A gateway that does not fit its network.
    "PC0208" "the gateway {addr} {why}" BadGateway { addr: IpAddr, why: &'static str };
    /// Not a MAC.
    "PC0209" "`{got}` is not a MAC address" BadMac { got: String };
    /// A group address as somebody's own.
    "PC0210" "{mac} is a group address: the lowest bit of its first byte is set" GroupMac { mac: Mac };
    /// Two NICs with one MAC.
    "PC0211" "the MAC {mac} already belongs to {owner}" MacTaken { mac: Mac, owner: String };
    /// Not an address.
    "PC0212" "`{got}` is not an address" BadAddress { got: String };
    /// An address that its network does not have.
    "PC0213" "{addr} lies in no subnet of network `{network}`" OutsideNetwork { addr: IpAddr, network: String };
    /// Two owners.
    "PC0214" "{addr} already belongs to {owner}" AddressTaken { addr: IpAddr, owner: String };
    /// Network, broadcast.
    "PC0215" "{addr} is the {role} address of {subnet}" AddressReserved { addr: IpAddr, role: &'static str, subnet: IpNet };
    /// Multicast, loopback, link-local, mapped.
    "PC0216" "{addr} cannot be used: {why}" UnusableAddress { addr: IpAddr, why: &'static str };
    /// `auto` found nothing.
    "PC0217" "no address of {subnet} is left for `auto`" SubnetFull { subnet: IpNet };
    /// Two NICs of one guest on a network, or none.
    "PC0218" "guest `{guest}` has two NICs on network `{network}`" TwoNics { guest: String, network: String };

    /// No such service.
    "PC0301" "no service is called `{name}`" UnknownService { name: String };
    /// Not a service.
    "PC0302" "`{got}` is not a service: {why}" BadService { got: String, why: &'static str };
    /// `tcp/90-80`.
    "PC0303" "the range {first}-{last} ends before it begins" BackwardRange { first: u32, last: u32 };
    /// `tcp/70000`.
    "PC0304" "{what} is a number from 0 to {max}, not `{got}`" OutOfRange { what: &'static str, max: u32, got: String };

    /// Neither allow, deny nor pass.
    "PC0401" "a rule says one of `allow`, `deny` and `pass`; this one says nothing" NoAction {};
    /// More than one of them.
    "PC0402" "a rule says one of `allow`, `deny` and `pass`; this one says `{first}` and `{second}`" TwoActions { first: &'static str, second: &'static str };
    /// `pass` where there is nothing below.
    "PC0403" "`pass` hands a decision down from the platform tier; below the tenant tier there is nothing" PassInTenant {};

    /// Not a date, a time or a duration.
    "PC0404" "`{got}` is no end for a rule: {why}" BadUntil { got: String, why: &'static str };
    /// `50 per minute`.
    "PC0405" "`{got}` is not a log rate: {why}" BadRate { got: String, why: &'static str };

    /// Over a limit of the tables.
    "PC0501" "the policy needs {got} {what} or more; the tables hold {limit}" TooLarge { what: &'static str, got: u64, limit: u64 };

    /// `never` does not hold.
    "PC0601" "`never` does not hold: `{invariant}` is broken by {witness}" NeverViolated { invariant: String, witness: String };
    /// `always` does not hold: a rule or the default denies it.
    "PC0602" "`always` does not hold: `{invariant}` is broken by {witness}, which is denied" AlwaysViolated { invariant: String, witness: String };
    /// A kind's invariant does not hold.
    "PC0603" "`{invariant}` does not hold: {witness} is allowed by no rule that names both sides" KindViolated { invariant: String, witness: String };
    /// `always` does not hold: there is no way.
    "PC0604" "`always` does not hold: `{invariant}` is broken by {witness}, which has no way: `{network}` has no gateway" AlwaysUnreachable { invariant: String, witness: String, network: String };
    /// `never` holds until a rule ends.
    "PC0605" "`{invariant}` will not hold any more from {when} on: {witness} will be allowed" NeverWillBreak { invariant: String, when: String, witness: String };
    /// More of them than anybody reads.
    "PC0606" "and {count} more connections break invariants" MoreViolations { count: usize };

    /// A rule without effect.
    "PC0901" "the rule `{name}` never decides anything" NeverDecides { name: String };
    /// An invariant without effect.
    "PC0902" "the invariant speaks about no possible connection" EmptyInvariant {};
    /// Nothing declared.
    "PC0903" "the policy declares no network: every port will stay closed" NoNetworks {};
    /// No packet can be what the rule speaks about.
    "PC0904" "the rule `{name}` can never match: {why}" NeverMatches { name: String, why: String };
    /// Stronger rules say the opposite everywhere.
    "PC0905" "the rule `{name}` has no effect: other rules overrule everything that it would {action}" Overruled { name: String, action: &'static str };
    /// Declared, and worn by nobody.
    "PC0906" "no guest wears the label `{name}`" UnwornLabel { name: String };
    /// Defined, and named by nothing.
    "PC0907" "the set `{name}` is not used" UnusedSet { name: String };
    /// Defined, and named by nothing.
    "PC0908" "the service `{name}` is not used" UnusedService { name: String };
    /// A prefix around guests.
    "PC0909" "`{prefix}` also covers addresses of `{network}` that no guest has" WiderThanGuests { prefix: String, network: String };
    /// A rule that has ended.
    "PC0910" "the rule `{name}` ended on {when}" ExpiredRule { name: String, when: String };
    /// `always` holds until a rule ends.
    "PC0911" "`{invariant}` will not hold any more from {when} on: {witness} will be denied" AlwaysWillEnd { invariant: String, when: String, witness: String };
    /// A prefix where nobody is.
    "PC0912" "no guest of `{network}` has an address in `{prefix}`" NobodyInside { prefix: String, network: String };
    /// An address that nobody has.
    "PC0913" "no guest of `{network}` has the address {addr}" NobodyHas { addr: String, network: String };

    /// `in: fast`.
    "PC1001" "`{got}` is no limit for `{key}`: {why}" BadLimit { key: &'static str, got: String, why: &'static str };
    /// More than guests can be told.
    "PC1101" "a network has at most {limit} name servers of each family" TooManyNameServers { limit: usize };
    /// Not a domain.
    "PC1102" "`{got}` is not a domain: {why}" BadDomain { got: String, why: &'static str };
    /// Not a duration, or too short or too long.
    "PC1103" "a lease is a duration from 2m to 30d, not `{got}`" BadLease { got: String };
    /// Not an EtherType, or one that is not a network's to declare.
    "PC1104" "`{got}` cannot be declared as an EtherType: {why}" BadEtherType { got: String, why: &'static str };
    /// More than the tables hold.
    "PC1105" "a network has at most {limit} EtherTypes" TooManyEtherTypes { limit: usize };
    /// Frames that no rule speaks about, where nothing may pass.
    "PC1106" "`never` does not hold: `{invariant}` is broken by any frame of EtherType {ethertype:#06x} from {from} to {to}" BareFrames { invariant: String, ethertype: u16, from: String, to: String };
    /// `outside` where nothing is routed.
    "PC1201" "`outside` says how the gateway of `{network}` routes, and it has none" OutsideWithoutGateway { network: String };
    /// `outside` of what is outside.
    "PC1202" "the network `{network}` is external: it is the outside itself" OutsideOfExternal { network: String };
    /// An address that is not the host's, or not IPv4.
    "PC1203" "nothing can be published at {addr}: {why}" PublishedAt { addr: IpAddr, why: String };
    /// A target that nobody can be sent to.
    "PC1204" "`{to}` cannot be published: {why}" PublishedTo { to: String, why: &'static str };
    /// A service that cannot be forwarded.
    "PC1205" "`{service}` cannot be published: {why}" PublishedFor { service: String, why: &'static str };
    /// Two at one port.
    "PC1206" "{ports} is published there already, as `{other}`" PublishedTwice { ports: String, other: String };
    /// No rule lets anybody in.
    "PC1291" "`{name}` is published, but no rule allows anybody outside to reach `{guest}` for {ports}" PublishedInVain { name: String, guest: String, ports: String };
    /// Addresses that are routed as they are.
    "PC1292" "nothing of `{network}` is masqueraded: its addresses are global IPv6, which is routed as it is" NothingToMasquerade { network: String };
    /// Who cannot have it.
    "PC1301" "the guest `{guest}` has no NIC on network `{network}`, so it cannot have `{shared}`" NoNicThere { guest: String, network: String, shared: String };
    /// Outside 1..255.
    "PC1302" "a virtual router's number is from 1 to 255, not `{got}`" BadRouter { got: String };
    /// Two in one network.
    "PC1303" "network `{network}` has a virtual router {router} already: `{other}`" RouterTaken { router: u8, network: String, other: String };
    /// Addresses of both families.
    "PC1304" "a virtual router has addresses of one family, and `{name}` of both" TwoFamilies { name: String };
    /// A list of prefixes that is not there, or under a name of something else.
    "PC1401" "`{file}` is no list of denied prefixes: {why}" DeniedFile { file: String, why: String };
    /// Not a prefix.
    "PC1402" "`{got}` cannot be denied: {why}" BadDenied { got: String, why: String };
    /// More lines than anybody reads about.
    "PC1403" "and {count} more lines of `{file}` are no prefixes" MoreBadLines { count: usize, file: String };
    /// Over a limit of the tables.
    "PC1404" "the denied sets make {got} ranges of addresses; the tables hold {limit}" TooManyDenied { got: usize, limit: usize };
    /// `always` does not hold: a denied set goes before all rules.
    "PC1405" "`always` does not hold: `{invariant}` needs {addr}, which the denied set `{set}` names" AlwaysDenied { invariant: String, addr: IpAddr, set: String };
    /// A set of nothing.
    "PC1491" "the denied set `{name}` names no address" EmptyDenied { name: String };
    /// An address for frames without a tag, of which there are none.
    "PC1501" "this trunk carries no network without a tag, so it has no `ip` of its own" NothingUntagged {};
}

impl Problem {
    /// Does it refuse the policy?
    pub const fn severity(&self) -> Severity {
        severity(self.code())
    }
}

/// Warnings are `PC09xx`, and from `PC10xx` on those with a 9 before the last digit.
const fn severity(code: &str) -> Severity {
    match code.as_bytes() {
        [b'P', b'C', b'0', b'9', ..] | [b'P', b'C', b'1', _, b'9', _] => Severity::Warning,
        _ => Severity::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        assert!(Problem::CODES.is_sorted_by(|a, b| a < b));
    }
}
