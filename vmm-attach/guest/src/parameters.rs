//! The command line: words, most of them `name=value`.

use core::{ffi::CStr, ptr};

use smoltcp::wire::{IpAddress, IpCidr};

/// Offset of the command line's address in `boot_params` (Linux' `struct setup_header`).
const COMMAND_LINE: usize = 0x228;
/// Of what is called here, at most so many.
pub const PORTS_MAX: usize = 6;

/// What the guest is to be.
pub struct Parameters {
    line: &'static str,
}

impl Parameters {
    /// Those that the monitor has left.
    ///
    /// # Safety
    /// `boot_params` is what the boot protocol says.
    pub unsafe fn read(boot_params: usize) -> Self {
        let at = ptr::with_exposed_provenance::<u32>(boot_params + COMMAND_LINE);
        // SAFETY: the protocol puts the address of a string there, which ends with a zero.
        let line = unsafe {
            let line = ptr::with_exposed_provenance(at.read_unaligned() as usize);
            CStr::from_ptr(line)
        };
        Self { line: line.to_str().unwrap_or_default() }
    }

    /// The values of a name, in their order.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'static str> {
        let pairs = self.line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        pairs.filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Devices, as Linux' `virtio_mmio.device=SIZE@ADDRESS:LINE` says them: address and line.
    pub fn devices(&self) -> impl Iterator<Item = (usize, u8)> {
        self.all("virtio_mmio.device").filter_map(|value| {
            let (at, line) = value.split_once('@')?.1.split_once(':')?;
            Some((hexadecimal(at)?, line.parse().ok()?))
        })
    }

    /// `power_off=PORT:VALUE`: how this machine is switched off.
    pub fn power_off(&self) -> Option<(u16, u8)> {
        let (port, value) = self.all("power_off").next()?.split_once(':')?;
        Some((hexadecimal(port)? as u16, hexadecimal(value)? as u8))
    }

    /// `ip=ADDRESS/LENGTH`, of both families. Without one of IPv4, DHCP is asked.
    pub fn addresses(&self) -> impl Iterator<Item = IpCidr> {
        self.all("ip").filter_map(|value| {
            let (address, length) = value.split_once('/')?;
            Some(IpCidr::new(address.parse().ok()?, length.parse().ok()?))
        })
    }

    /// `gateway=ADDRESS`, of both families.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddress> {
        self.all("gateway").filter_map(|value| value.parse().ok())
    }

    /// `tcp=PORT,...` and `udp=PORT,...`: where an echo answers.
    pub fn ports(&self, protocol: &'static str) -> impl Iterator<Item = u16> {
        let values = self.all(protocol).flat_map(|value| value.split(','));
        values.filter_map(|port| port.parse().ok()).take(PORTS_MAX)
    }
}

fn hexadecimal(text: &str) -> Option<usize> {
    usize::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
