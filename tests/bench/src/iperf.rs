//! Real TCP between two guests: one iperf3 stream with all offloads on.

use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{command, error::Error, interrupt::Interrupt, netns::Namespace};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(5);
/// The first port that the peers' rules allow.
const PORT: &str = "8000";

/// Throughput in Gbit/s as the receiver saw it, over `seconds`.
pub fn throughput(
    client: &Namespace,
    server: &Namespace,
    address: Ipv4Addr,
    seconds: u64,
    interrupt: &Interrupt,
) -> Result<f64, Error> {
    let _server = Server::start(server)?;
    let (address, seconds) = (address.to_string(), seconds.to_string());
    let args = ["-c", &address, "-p", PORT, "-t", &seconds, "-A", "0", "-J"];
    let start = Instant::now();
    loop {
        let report = client.run(|| command::run("iperf3", &args, ""))?;
        // The client ends well also when the server does not listen yet; its report tells.
        if start.elapsed() > START || !report.contains("Connection refused") {
            return received(&report);
        }
        interrupt.check()?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads the receiver's rate out of iperf3's report.
fn received(report: &str) -> Result<f64, Error> {
    serde_json::from_str::<serde_json::Value>(report)
        .ok()
        .and_then(|json| json.pointer("/end/sum_received/bits_per_second")?.as_f64())
        .map(|bits| bits * 1e-9)
        .ok_or_else(|| Error::Iperf { report: report.chars().take(300).collect() })
}

/// A server for one client, on the second CPU. Ends with this value.
struct Server(Child);

impl Server {
    fn start(namespace: &Namespace) -> Result<Self, Error> {
        namespace.run(|| {
            Command::new("iperf3")
                .args(["-s", "-4", "-1", "-p", PORT, "-A", "1"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map(Self)
                .map_err(|e| command::missing("iperf3", e))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended by itself when its client was served; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_receivers() {
        let report = r#"{"end":{"sum_sent":{"bits_per_second":9e9},"sum_received":{"bits_per_second":8.5e9}}}"#;
        assert!((received(report).unwrap() - 8.5).abs() < 1e-9);
    }

    #[test]
    fn a_report_without_a_rate_is_an_error() {
        for report in ["", "{}", r#"{"error":"unable to connect"}"#] {
            assert!(matches!(received(report), Err(Error::Iperf { .. })));
        }
    }
}
