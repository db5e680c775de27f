//! The arguments of every command that connects to a broker.

use super::Failure;
use super::client::{Client, ClientConfig};
use std::time::Duration;

/// The address of the cluster, and the format of the result.
#[derive(clap::Args, Clone, Debug)]
pub struct Connect {
    /// The broker to connect to first; separate several with commas
    #[arg(long, short, value_name = "HOST:PORT", env = "TIDEMILL_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// The limit for each call to the cluster, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Connect {
    /// Connects a client with these arguments.
    pub fn client(&self) -> Result<Client, Failure> {
        let config = ClientConfig {
            bootstrap: self.bootstrap.clone(),
            timeout: Duration::from_secs(self.timeout.into()),
            ..ClientConfig::default()
        };
        Ok(Client::connect(config)?)
    }
}
