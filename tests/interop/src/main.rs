//! The runner of `tests/interop/run`, which installs what it needs: one program a subcommand, with its checks
//! counted and told on standard output. What a subcommand does is told in `README.md`.

#![expect(clippy::print_stdout, reason = "a test runner tells its results on the terminal")]

mod amqp;
mod mosquitto;
mod mqtt;
mod process;
mod proxy;
mod report;
mod scratch;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut report = Report::default();
    let (name, outcome) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mqtt"] => ("interop-mqtt", mqtt::over_tls(&mut report)),
        ["mqtt-ws"] => ("interop-mqtt-ws", mqtt::over_web_socket(&mut report)),
        ["amqp"] => ("interop-amqp", amqp::over_tls(&mut report)),
        ["amqp-ws"] => ("interop-amqp-ws", amqp::over_web_socket(&mut report)),
        ["mosquitto"] => ("interop-mosquitto", mosquitto::run(&mut report)),
        _ => {
            println!("usage: iothub-interop mqtt | mqtt-ws | amqp | amqp-ws | mosquitto");
            println!("tests/interop/run installs what they need first");
            return ExitCode::from(2);
        }
    };
    if let Err(problem) = outcome {
        report.check("the run came to its end", Err(problem));
    }
    report.close(name)
}
