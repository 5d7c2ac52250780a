//! What a runtime asks for: environment variables, and the configuration on standard input.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Result, VERSIONS,
    error::{CniError, code},
};
use crate::names;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Give a container its interface.
    Add,
    /// Take it away.
    Del,
    /// Look whether it is as it was made.
    Check,
    /// Take away what belongs to no container any more.
    Gc,
    /// Say whether `ADD` could work.
    Status,
    /// Say which versions are spoken.
    Version,
}

impl Command {
    /// From the environment.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        const NAME: &str = "CNI_COMMAND";
        let word = variable(NAME).ok_or_else(|| CniError::variable(NAME, "it is not set"))?;
        Ok(match word.as_str() {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            other => {
                let why = format!("{other:?} is none of ADD, DEL, CHECK, GC, STATUS and VERSION");
                return Err(CniError::variable(NAME, &why));
            }
        })
    }
}

/// An interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// The runtime's word for the container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface in it.
    #[serde(rename = "ifname")]
    pub interface: String,
}

impl Attachment {
    /// From the environment.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let need = |name: &str, why: &str, good: &dyn Fn(&str) -> bool| {
            let value = variable(name).filter(|value| good(value));
            value.ok_or_else(|| CniError::variable(name, why))
        };
        let container =
            "it wants letters, digits, dots, dashes and underscores, a letter or digit first";
        let interface = "it wants the name of an interface, at most 15 characters";
        Ok(Self {
            container: need("CNI_CONTAINERID", container, &is_word)?,
            interface: need("CNI_IFNAME", interface, &names::is_interface)?,
        })
    }
}

/// Names of networks and containers: SPEC.md, "Parameters".
fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(plain)
}

/// The configuration, as far as it means something here.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Version of the specification.
    #[serde(rename = "cniVersion", default)]
    pub version: String,
    /// The network's name for the runtime.
    #[serde(default)]
    pub name: String,
    /// The guest of the policy; else `GUEST` of `CNI_ARGS`, or the pod's name.
    pub guest: Option<String>,
    /// The guest's network in the policy, where it has several.
    pub network: Option<String>,
    ipam: Option<Value>,
    #[serde(rename = "prevResult")]
    previous: Option<Previous>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Attachment>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Previous {
    #[serde(default)]
    ips: Vec<PreviousIp>,
}

#[derive(Clone, Debug, Deserialize)]
struct PreviousIp {
    address: String,
}

impl Config {
    /// Reads it, and looks whether it is one that is understood.
    pub fn read(text: &str) -> Result<Self> {
        let bad = |error: serde_json::Error| {
            CniError::new(code::DECODE, format!("the configuration cannot be read: {error}"))
        };
        let config: Self = serde_json::from_str(text).map_err(bad)?;
        if !VERSIONS.contains(&config.version.as_str()) {
            let message = format!(
                "cniVersion {:?} is not spoken here, {} are",
                config.version,
                VERSIONS.join(", ")
            );
            return Err(CniError::new(code::VERSION, message));
        }
        if !is_word(&config.name) {
            let message = format!("the network has no usable name: {:?}", config.name);
            return Err(CniError::new(code::CONFIG, message));
        }
        Ok(config)
    }

    /// Is there nothing in it that `ADD` cannot do?
    pub fn may_add(&self) -> Result<()> {
        if let Some(ipam) = self.ipam.as_ref().filter(|ipam| **ipam != serde_json::json!({})) {
            let message = format!("ipam {ipam}: the policy says the addresses, leave it out");
            return Err(CniError::new(code::FIELD, message));
        }
        if self.previous.is_some() {
            let message = "this plugin makes the interface: it stands first in its list";
            return Err(CniError::new(code::CONFIG, message));
        }
        Ok(())
    }

    /// The addresses that `ADD` has told.
    pub fn told(&self) -> Result<Vec<String>> {
        let missing = || CniError::new(code::CONFIG, "CHECK wants prevResult");
        let previous = self.previous.as_ref().ok_or_else(missing)?;
        Ok(previous.ips.iter().map(|ip| ip.address.clone()).collect())
    }

    /// The attachments that a runtime still knows.
    pub fn valid(&self) -> Result<&[Attachment]> {
        let missing = || CniError::new(code::CONFIG, "GC wants cni.dev/valid-attachments");
        self.valid.as_deref().ok_or_else(missing)
    }
}

/// The version that a configuration speaks, even if the rest is of no use.
pub fn version(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value["cniVersion"].as_str()?.to_owned())
}

/// A question about one attachment.
#[derive(Clone, Debug)]
pub struct Call {
    /// The configuration.
    pub config: Config,
    /// Which interface.
    pub attachment: Attachment,
    netns: Option<String>,
    arguments: String,
}

impl Call {
    /// From the environment.
    pub fn of(config: Config, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let attachment = Attachment::of(variable)?;
        let netns = variable("CNI_NETNS").filter(|path| !path.is_empty());
        let arguments = variable("CNI_ARGS").unwrap_or_default();
        Ok(Self { config, attachment, netns, arguments })
    }

    /// The container's namespace.
    pub fn netns(&self) -> Result<PathBuf> {
        let missing = || CniError::variable("CNI_NETNS", "it is not set");
        let path = PathBuf::from(self.netns.as_ref().ok_or_else(missing)?);
        match path.exists() {
            true => Ok(path),
            false => Err(CniError::new(
                code::CONTAINER,
                format!("there is no network namespace {}", path.display()),
            )),
        }
    }

    /// The guest of the policy that the container is.
    pub fn guest(&self) -> Result<String> {
        let pairs = self.arguments.split(';').filter_map(|pair| pair.split_once('='));
        let argument = |name: &str| {
            let mut found = pairs.clone().filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value.to_owned())
        };
        let named = argument("GUEST").or_else(|| self.config.guest.clone());
        named.or_else(|| argument("K8S_POD_NAME")).ok_or_else(|| {
            let message = "which guest of the policy is it? Set `guest` in the configuration, or GUEST \
                           or K8S_POD_NAME in CNI_ARGS";
            CniError::new(code::CONFIG, message)
        })
    }

    /// Is it of a version that says of which family an address is?
    pub fn is_old(&self) -> bool {
        self.config.version.starts_with("0.")
    }

    /// Is it of a version that knows the MTU?
    pub fn is_current(&self) -> bool {
        self.config.version == "1.1.0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: &str = r#"{"cniVersion":"1.1.0","name":"pods","type":"portcullis-cni"}"#;

    fn variables<'v>(set: &'v [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'v {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn what_a_runtime_gets_wrong_has_its_code() {
        let config = |text: &str| Config::read(text).unwrap_err().code;
        assert_eq!(config("{"), code::DECODE);
        assert_eq!(config(&NET.replace("1.1.0", "0.2.0")), code::VERSION);
        assert_eq!(config(&NET.replace("pods", "../x")), code::CONFIG);
        let with = |more: &str| Config::read(&NET.replacen('{', &format!("{{{more},"), 1)).unwrap();
        let ipam = with(r#""ipam":{"type":"host-local"}"#).may_add().unwrap_err();
        assert_eq!(ipam.code, code::FIELD);
        // SPEC.md: the message has the key and the value.
        assert!(ipam.message.contains("ipam") && ipam.message.contains("host-local"));
        assert_eq!(with(r#""prevResult":{}"#).may_add().unwrap_err().code, code::CONFIG);
        assert_eq!(with(r#""ipam":{}"#).told().unwrap_err().code, code::CONFIG);
        for set in [
            &[][..],
            &[("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "eth0")],
            &[("CNI_CONTAINERID", "x"), ("CNI_IFNAME", "a/b")],
        ] {
            let error = Attachment::of(&variables(set)).unwrap_err();
            assert_eq!(error.code, code::ENVIRONMENT);
            assert!(error.message.contains("CNI_"), "{error}");
        }
        let error = Command::of(&variables(&[("CNI_COMMAND", "PLUG")])).unwrap_err();
        assert_eq!(error.code, code::ENVIRONMENT);
    }

    #[test]
    fn a_guest_is_named_in_three_places() {
        let call = |config: &str, arguments: &str| {
            let set = [("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", arguments)];
            Call::of(Config::read(config).unwrap(), &variables(&set)).unwrap().guest()
        };
        let named = NET.replacen('{', r#"{"guest":"web1","#, 1);
        let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web2";
        assert_eq!(call(&named, "GUEST=web3").unwrap(), "web3");
        assert_eq!(call(&named, pod).unwrap(), "web1");
        assert_eq!(call(NET, pod).unwrap(), "web2");
        assert_eq!(call(NET, "").unwrap_err().code, code::CONFIG);
    }
}
