//! `events`: what became of connections whose rules are logged.

use std::{thread, time::Duration};

use serde_json::Value;

use super::{Context, Outcome, remark, stream};
use crate::{
    api::{Event, EventQuery, Events, Request, Response},
    cli::Format,
    client::Client,
    error::Error,
    paint::Style,
    render::events,
};

/// How often the daemon is asked for more.
const PAUSE: Duration = Duration::from_millis(250);

/// Prints the events that there are; with `follow`, and those that come. A line each: for
/// programs a JSON value.
pub fn events(
    mut query: EventQuery,
    follow: bool,
    format: Format,
    context: &Context,
) -> Result<Outcome, Error> {
    let mut client = Client::connect(&context.paths)?;
    let mut before = (0, 0);
    loop {
        let answer = ask(&mut client, &query)?;
        let lines = answer.events.iter().map(|event| line(event, format, context));
        if !stream(&lines.collect::<String>()) {
            break;
        }
        let all = answer.last == query.after;
        before = report(&answer, before, context);
        query.after = answer.last;
        match (all, follow) {
            (true, false) => break,
            (true, true) => thread::sleep(PAUSE),
            (false, _) => {}
        }
    }
    Ok(Outcome::fine("", Value::Null))
}

fn ask(client: &mut Client, query: &EventQuery) -> Result<Events, Error> {
    match client.ask(&Request::Events(query.clone()))? {
        Response::Events(events) => Ok(events),
        _ => Err(Error::WrongAnswer),
    }
}

fn line(event: &Event, format: Format, context: &Context) -> String {
    match format {
        Format::Human => events::line(event, context.paint),
        // Plain data with string keys always has a JSON form.
        Format::Json => serde_json::to_string(event).unwrap_or_default() + "\n",
    }
}

/// Says on standard error what is missing, when that changes.
fn report(answer: &Events, before: (u64, u64), context: &Context) -> (u64, u64) {
    let now = (answer.suppressed, answer.lost);
    if answer.missed > 0 {
        let text = format!("{} older events are not remembered any more", answer.missed);
        remark(&context.paint_aside.paint(Style::Dim, text));
    }
    if now != before {
        let text = format!("{} suppressed by their rules' rates, {} lost", now.0, now.1);
        remark(&context.paint_aside.paint(Style::Dim, text));
    }
    now
}
