//! A CA and a server certificate for `localhost`, made for this run.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::scratch::Scratch;

/// Where the files are, and the CA as text.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) ca_pem: String,
    pub(super) ca_path: PathBuf,
    pub(super) server_path: PathBuf,
    pub(super) key_path: PathBuf,
}

pub(super) fn make(scratch: &Scratch) -> Result<Certificates, String> {
    let (ca_pem, server_pem, key_pem) = generate().map_err(|error| format!("cannot make certificates: {error}"))?;
    Ok(Certificates {
        ca_path: scratch.write("ca.pem", &ca_pem)?,
        server_path: scratch.write("server.pem", &server_pem)?,
        key_path: scratch.write("server-key.pem", &key_pem)?,
        ca_pem,
    })
}

fn generate() -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "iothub-interop CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    let server = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), server.pem(), key.serialize_pem()))
}
