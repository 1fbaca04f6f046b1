//! `annals serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use annals_api::{ExitCode, ServeDocument};
use annals_operations::{Environment, Failure, Monitor};
use annals_serve::{ServeError, ServeOptions, Server};

use crate::output::Output;
use crate::signals;
use crate::style::{FAINT, GOOD};

/// Answer how targets are doing over HTTP: health, metrics, timeline; to read only
///
/// Off this machine TLS and a token are required. A token in the variable ANNALS_SERVE_TOKEN, or in a
/// file, is asked for on this machine too. Each request is noted with -v.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8009")]
    listen: SocketAddr,

    /// The certificate, and those it rests on, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its key in PEM, which nobody else may read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The file with the token every request must show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// A name requests may ask for, besides the address; repeat it for more
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let own =
        Environment::new(environment.folder.clone(), environment.variables.clone(), "annals serve");
    let options = ServeOptions {
        listen: arguments.listen,
        tls: arguments.tls_cert.zip(arguments.tls_key),
        token_file: arguments.token_file,
        token: environment.variable("ANNALS_SERVE_TOKEN").map(str::to_owned),
        hosts: arguments.hosts,
    };
    let monitor = Monitor::new(own)?;
    let targets = monitor.targets();
    let server = Server::bind(monitor, &options).await.map_err(refused)?;
    let document = ServeDocument {
        format: "annals.serve/1",
        url: server.url(),
        token: server.has_token(),
        targets,
    };
    // Whoever reads a line of JSON goes on from there; the program does not end.
    output.line(&document, human);
    server.run(signals::stop()).await;
    Ok(ExitCode::Success)
}

fn refused(error: ServeError) -> Failure {
    Failure::Argument { subject: "serve".to_owned(), reason: error.to_string() }
}

fn human(document: &ServeDocument) -> String {
    let token = if document.token { "asked for" } else { "none: this machine alone is answered" };
    format!(
        "{GOOD}✓{GOOD:#} listening on {}\n  {FAINT}targets{FAINT:#}  {}\n  {FAINT}token{FAINT:#}    \
         {token}\n  {FAINT}try{FAINT:#}      {}/health, {}/metrics\n",
        document.url,
        document.targets.join(", "),
        document.url,
        document.url
    )
}
