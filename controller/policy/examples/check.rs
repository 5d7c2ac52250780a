//! Checks policy files and answers questions: `check FILE... [-- FROM TO SERVICE]`.

use std::time::Instant;

use portcullis_policy::{Sources, compile, explain};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let split = args.iter().position(|a| a == "--").unwrap_or(args.len());
    let read = |name: &String| (name.clone(), std::fs::read_to_string(name).expect("a file"));
    let sources = Sources::new(args[..split].iter().map(read));
    let start = Instant::now();
    match compile(&sources) {
        Err(diags) => print!("{}", diags.render(false)),
        Ok(compiled) => {
            let image = &compiled.image;
            print!("{}", compiled.warnings.render(false));
            println!(
                "{} rules, {} classes, {} services, {} cells, {:?}",
                image.rules.len(),
                image.classes,
                image.services,
                image.cells.len(),
                start.elapsed()
            );
            if let Some([from, to, service]) = args.get(split + 1..).and_then(|q| q.first_chunk()) {
                match explain(&compiled, from, to, service) {
                    Ok(explanation) => print!("{}", explanation.render()),
                    Err(error) => println!("{error}"),
                }
            }
        }
    }
}
