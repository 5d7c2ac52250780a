//! Speed, side by side with its peers in one run.

mod command;
mod error;
mod frame;
mod generator;
mod interrupt;
mod iperf;
mod measure;
mod netns;
mod peers;
mod stats;
mod sys;
mod tap;
mod world;

fn main() -> anyhow::Result<()> {
    use measure::*;
    use peers::*;
    command::require_all()?;
    let i = interrupt::Interrupt::listen()?;
    let times = Times { reading_ms: 200, tcp_s: 1 };
    let peers: Vec<Box<dyn Peer>> = vec![
        Box::new(Bridge),
        Box::new(FilteredBridge { rules: 1000, shape: Shape::Linear }),
        Box::new(FilteredBridge { rules: 1000, shape: Shape::Set }),
        Box::new(Router { rules: 1000 }),
    ];
    for p in peers {
        let mut path = Path::new(p.build(world::Medium::Taps)?);
        for m in Metric::ON_TAPS {
            println!("{} {:?} {:?}", p.name(), m, path.measure(m, times, &i)?);
        }
        let mut path = Path::new(p.build(world::Medium::Guests)?);
        println!("{} {:?}", p.name(), path.measure(Metric::Tcp, times, &i)?);
    }
    Ok(())
}
