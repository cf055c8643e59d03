//! Brokers whose certificate is wrong, and such as ask for one. They need `nats-server` and
//! `openssl`.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use multiproc::Pool;
use multiproc_cluster::{Cluster, ClusterBuilder};
use support::{Broker, Folder, Journal, MINUTE, key};

/// An authority, which makes certificates in a folder.
struct Authority<'a> {
    folder: &'a Folder,
    name: &'a str,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Folder, name: &'a str) -> Authority<'a> {
        let authority = Authority { folder, name };
        authority.run(&["req", "-x509", "-days", "2"], name, &[]);
        authority
    }

    /// Where its own certificate is.
    fn file(&self) -> PathBuf {
        self.folder.path(&format!("{}.pem", self.name))
    }

    /// Makes a certificate for an address, which is good for so many days. Returns where it and its
    /// key are.
    fn issue(&self, name: &str, address: &str, days: &str) -> (PathBuf, PathBuf) {
        self.run(&["req", "-new"], name, &[]);
        let names = self.folder.write(&format!("{name}.txt"), &format!("subjectAltName={address}"));
        let (request, own) = (self.folder.path(&format!("{name}.pem")), self.file());
        let done = self.folder.path(&format!("{name}.crt"));
        let authority_key = self.folder.path(&format!("{}.key", self.name));
        let signed = Command::new("openssl")
            .args(["x509", "-req", "-days", days, "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(own)
            .arg("-CAkey")
            .arg(authority_key)
            .arg("-extfile")
            .arg(names)
            .arg("-out")
            .arg(&done)
            .stderr(Stdio::null())
            .status();
        assert!(signed.expect("openssl").success());
        (done, self.folder.path(&format!("{name}.key")))
    }

    /// Has `openssl` make a key and something for it.
    fn run(&self, what: &[&str], name: &str, more: &[&str]) {
        let made = Command::new("openssl")
            .args(what)
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", &format!("/CN={name}"), "-keyout"])
            .arg(self.folder.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.folder.path(&format!("{name}.pem")))
            .args(more)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl").success());
    }
}

/// The broker's part of its configuration.
fn tls((certificate, key): &(PathBuf, PathBuf), more: &str) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" {more} }}")
}

/// Has a cluster with one node do something.
fn works(builder: ClusterBuilder) {
    let cluster = builder.key(key()).connect().expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    assert!(task.wait(MINUTE), "nothing comes back");
    assert_eq!(task.join().expect("value"), 8);
}

#[test]
fn a_node_waits_for_a_broker_with_a_right_certificate_and_says_what_is_wrong() {
    let folder = Folder::new();
    let (known, unknown) = (Authority::new(&folder, "known"), Authority::new(&folder, "unknown"));
    let ca = known.file();
    for (name, certificate, says) in [
        ("foreign", unknown.issue("foreign", "IP:127.0.0.1", "2"), "UnknownIssuer"),
        ("elsewhere", known.issue("elsewhere", "DNS:elsewhere", "2"), "not valid for name"),
        // Good until the moment when it was made.
        ("old", known.issue("old", "IP:127.0.0.1", "0"), "expired"),
    ] {
        let broker = Broker::start(&tls(&certificate, ""), &folder.path(name), None);
        let way = [("MULTIPROC_TLS_CA", &*ca)];
        let (node, journal) = Journal::of(&folder, &broker.url(), &key(), &way);
        journal.wait_for("waits for the broker: cannot connect to the broker at");
        journal.wait_for(says);
        let cluster = Cluster::at(&broker.url()).key(key()).tls(&ca).connect();
        let error = cluster.expect_err("refused").to_string();
        assert!(error.contains(says), "{name}: {error}");
        assert_eq!(node.leave(), Some(0), "{name}");
    }
}

#[test]
fn a_certificate_that_is_put_right_is_accepted() {
    let folder = Folder::new();
    let (known, unknown) = (Authority::new(&folder, "known"), Authority::new(&folder, "unknown"));
    let ca = known.file();
    let wrong = tls(&unknown.issue("wrong", "IP:127.0.0.1", "2"), "");
    let right = tls(&known.issue("right", "IP:127.0.0.1", "2"), "");
    let broker = Broker::start(&wrong, &folder.path("store"), None);
    let (url, port) = (broker.url(), broker.port);
    let (_node, journal) = Journal::of(&folder, &url, &key(), &[("MULTIPROC_TLS_CA", &*ca)]);
    journal.wait_for("waits for the broker");
    drop(broker);
    let _broker = Broker::start(&right, &folder.path("store"), Some(port));
    works(Cluster::at(&url).tls(&ca));
}

#[test]
fn a_broker_that_asks_for_a_certificate_is_shown_one() {
    let folder = Folder::new();
    let (known, unknown) = (Authority::new(&folder, "known"), Authority::new(&folder, "unknown"));
    let ca = known.file();
    let asks = format!(", ca_file: \"{}\", verify: true", ca.display());
    let own = known.issue("broker", "IP:127.0.0.1", "2");
    let broker = Broker::start(&tls(&own, &asks), &folder.path("store"), None);
    let (certificate, secret) = known.issue("client", "DNS:client", "2");
    let way = [
        ("MULTIPROC_TLS_CA", &*ca),
        ("MULTIPROC_TLS_CERT", &*certificate),
        ("MULTIPROC_TLS_KEY", &*secret),
    ];
    let (_node, _journal) = Journal::of(&folder, &broker.url(), &key(), &way);
    let at = || Cluster::at(&broker.url()).tls(&ca);
    works(at().tls_identity(&certificate, &secret));
    let (foreign, foreign_secret) = unknown.issue("stranger", "DNS:client", "2");
    let refusal =
        |builder: ClusterBuilder| builder.key(key()).connect().expect_err("refused").to_string();
    let error = refusal(at());
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let error = refusal(at().tls_identity(&foreign, &foreign_secret));
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    let error = refusal(at().tls_identity(folder.path("none"), &secret));
    assert!(error.contains("cannot read the certificate") && error.contains("/none"), "{error}");
    // A node without one says so, and can be ended.
    let (node, journal) = Journal::of(&folder, &broker.url(), &key(), &way[..1]);
    journal.wait_for("waits for the broker: cannot connect to the broker at");
    assert!(journal.text().to_lowercase().contains("certificate"), "{}", journal.text());
    assert_eq!(node.leave(), Some(0));
    // Half of an identity is none.
    let (mut node, journal) = Journal::of(&folder, &broker.url(), &key(), &way[..2]);
    assert_eq!(node.0.wait().expect("ended").code(), Some(1));
    assert!(journal.text().contains("go together"), "{}", journal.text());
}
