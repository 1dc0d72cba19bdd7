//! Whose signature it is: the signer, those who vouch for him, and when he signed.

use der::asn1::ObjectIdentifier;

use super::asn1::{Element, Fields, tag};
use super::certificate::Certificate;
use super::crypto::Hash;
use super::oid;
use super::roots::Root;
use super::signed::{SignedData, Signer};
use crate::base::FileTime;
use crate::error::{Error, Kind, Result};

/// The longest way from a signer to a root that is followed; Windows' own are of two to four steps.
const MAX_STEPS: usize = 8;

/// A signature that holds.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The certificates from the signer's up to the last one that is in the catalog.
    pub chain: Vec<Certificate>,
    /// Where that leads.
    pub top: Top,
    /// When it was signed, as somebody else says who is known himself.
    pub stamp: Option<Stamp>,
    /// Whether it has a time stamp that does not hold: some byte of it is not as it was made.
    pub is_stamp_broken: bool,
    /// Whether a certificate is not signed by any of those who are there, or known, under the name of its issuer.
    pub is_chain_broken: bool,
    /// What makes it one that Windows does not take.
    pub issues: Vec<String>,
    /// What else is worth knowing.
    pub remarks: Vec<String>,
}

/// Where a chain of certificates ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// At a root of Microsoft.
    Root(&'static Root),
    /// At somebody who vouches for himself.
    Own,
    /// At somebody whose certificate is not there, or is of no use.
    Missing,
}

/// A time stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// When the signature was there.
    pub time: FileTime,
    /// Who says so.
    pub by: String,
}

impl Verified {
    /// The signer's certificate.
    pub fn signer(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// What the signer may sign: what his certificate says, as far as those above him may pass it on.
    ///
    /// A certificate of an authority that names usages limits all below it, as Windows has it; one that names none does not.
    pub fn usages(&self) -> Vec<ObjectIdentifier> {
        let mut usages = self.signer().map(Certificate::usages).unwrap_or_default();
        for limits in self.chain.iter().skip(1).map(Certificate::usages).filter(|limits| !limits.is_empty()) {
            usages.retain(|usage| limits.contains(usage) || limits.contains(&oid::ANY_USAGE));
        }
        usages
    }

    /// Where the chain ends, in words.
    pub fn top_in_words(&self) -> String {
        let last = self.chain.last();
        match self.top {
            Top::Root(root) => root.name.to_owned(),
            Top::Own => format!("{}, who vouches for himself", last.map(Certificate::subject).unwrap_or_default()),
            Top::Missing => {
                format!(
                    "{}, whose own certificate is not in the catalog",
                    last.map(Certificate::issuer).unwrap_or_default()
                )
            }
        }
    }
}

/// Checks the signature over a list that was made at a time.
pub(super) fn verify(data: &SignedData, listed: FileTime) -> Result<Verified> {
    let mut remarks = Vec::new();
    let signer = data.signers.first().ok_or_else(|| Error::corrupt("nobody has signed it"))?;
    if data.signers.len() > 1 {
        remarks.push(format!("{} have signed it; the first counts", data.signers.len()));
    }
    remarks.extend(data.unread.iter().map(|error| format!("a certificate in it cannot be read: {error}")));
    let certificate = signer.check(&data.content_type, data.content.content, &data.certificates)?;
    if signer.unsigned_attribute(&oid::NESTED_SIGNATURE)?.is_some() {
        remarks.push("a second signature lies inside the first; only the first was checked".to_owned());
    }
    let (chain, top) = chain(certificate, &data.certificates, &mut remarks);
    let is_chain_broken = top == Top::Missing && chain.last().is_some_and(|last| is_broken(last, &data.certificates));
    let mut is_stamp_broken = false;
    let stamp = match stamp(signer, &data.certificates) {
        Ok(stamp) => stamp,
        Err(error) => {
            is_stamp_broken = matches!(error.kind(), Kind::Corrupt | Kind::Truncated);
            remarks.push(format!("its time stamp does not count: {error}"));
            None
        }
    };
    let issues = expired(&chain, stamp.as_ref(), listed, &mut remarks);
    Ok(Verified { chain, top, stamp, is_stamp_broken, is_chain_broken, issues, remarks })
}

/// Follows the issuers of a certificate as far as they are known.
fn chain(signer: &Certificate, known: &[Certificate], remarks: &mut Vec<String>) -> (Vec<Certificate>, Top) {
    let mut chain = vec![signer.clone()];
    let mut at = signer;
    loop {
        if let Some(root) = at.as_root().or_else(|| issuing_root(at)) {
            return (chain, Top::Root(root));
        }
        let signed_by = |issuer: &Certificate| issuer.key().and_then(|key| at.is_signed_with(&key));
        if at.is_self_issued() && signed_by(at).unwrap_or(false) {
            return (chain, Top::Own);
        }
        let issuer = known.iter().find(|issuer| {
            issuer.is_named_by(at) && issuer.may_issue(chain.len() - 1) && signed_by(issuer).unwrap_or(false)
        });
        let Some(issuer) = issuer.filter(|_| chain.len() < MAX_STEPS) else {
            remarks.extend(why_not(at, known));
            return (chain, Top::Missing);
        };
        chain.push(issuer.clone());
        at = issuer;
    }
}

/// The root of Microsoft that has signed a certificate.
fn issuing_root(certificate: &Certificate) -> Option<&'static Root> {
    let issuer = certificate.issuer();
    Root::named(&issuer).find(|root| root.key().is_some_and(|key| certificate.is_signed_with(&key).unwrap_or(false)))
}

/// Whether those who are named as its issuer have not signed it: some byte of it, or of theirs, is not as it was made.
fn is_broken(certificate: &Certificate, known: &[Certificate]) -> bool {
    let issuer = certificate.issuer();
    let roots = Root::named(&issuer).filter_map(Root::key);
    let keys = known.iter().filter(|issuer| issuer.is_named_by(certificate)).filter_map(|issuer| issuer.key().ok());
    let mut signed = roots.chain(keys).map(|key| certificate.is_signed_with(&key).unwrap_or(true)).peekable();
    signed.peek().is_some() && signed.all(|is_signed| !is_signed)
}

/// Why those that are named as its issuer are not.
fn why_not<'c>(certificate: &'c Certificate, known: &'c [Certificate]) -> impl Iterator<Item = String> + 'c {
    let named = known.iter().filter(|issuer| issuer.is_named_by(certificate));
    named.map(|issuer| match issuer.key().and_then(|key| certificate.is_signed_with(&key)) {
        Err(error) => format!("whether {} has issued {}: {error}", issuer.subject(), certificate.subject()),
        Ok(false) => format!("{} says that {} has issued it, which is not so", certificate.subject(), issuer.subject()),
        Ok(true) => format!("{} has issued {}, and may not", issuer.subject(), certificate.subject()),
    })
}

/// Certificates that were not valid when the signature was made.
fn expired(chain: &[Certificate], stamp: Option<&Stamp>, listed: FileTime, remarks: &mut Vec<String>) -> Vec<String> {
    let at = stamp.map_or(listed, |stamp| stamp.time);
    let mut issues = Vec::new();
    for certificate in chain.iter().filter(|certificate| !certificate.is_valid_at(at)) {
        let (from, to) = certificate.validity();
        issues.push(format!(
            "the certificate of {} is valid from {from} to {to}, and it was signed at {at}",
            certificate.subject()
        ));
    }
    let Some(signer) = chain.first() else { return issues };
    let (_, end) = signer.validity();
    if stamp.is_none() {
        remarks.push(format!("no time stamp that counts: Windows takes the signature until {end}"));
    } else if signer.usages().contains(&oid::LIFETIME_SIGNING) {
        remarks.push(format!("the signature ends with the signer's certificate, at {end}"));
    }
    issues
}

/// The time stamp of a signature, if it has one; an error for one that is not what it should be.
fn stamp(signer: &Signer, certificates: &[Certificate]) -> Result<Option<Stamp>> {
    if let Some(token) = signer.unsigned_attribute(&oid::TIME_STAMP)? {
        return token_stamp(&token, signer.signature).map(Some);
    }
    let Some(counter) = signer.unsigned_attribute(&oid::COUNTER_SIGNATURE)? else { return Ok(None) };
    let counter = Signer::read(&counter)?;
    // A countersignature is over the signature's bytes, as plain data (RFC 5652, 11.4).
    let data = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
    let by = counter.check(&data, signer.signature, certificates)?;
    let time =
        counter.attribute(&oid::SIGNING_TIME)?.ok_or_else(|| Error::corrupt("a time stamp without a time"))?.time()?;
    known_stamp(by, certificates, time).map(Some)
}

/// A time stamp of RFC 3161: signed data of its own, with the hash of the signature in it.
fn token_stamp(token: &Element, signature: &[u8]) -> Result<Stamp> {
    let data = SignedData::read(token)?;
    if data.content_type != oid::TIME_STAMP_INFO {
        return Err(Error::corrupt("a time stamp")
            .at(token.offset)
            .found(data.content_type)
            .allowed(oid::TIME_STAMP_INFO));
    }
    let signer = data.signers.first().ok_or_else(|| Error::corrupt("nobody has signed the time stamp"))?;
    let by = signer.check(&data.content_type, data.content.content, &data.certificates)?;
    let time = token_time(data.content.fields(), signature)?;
    known_stamp(by, &data.certificates, time)
}

/// `TSTInfo`: version, policy, hash, serial number, time, ...
fn token_time(mut content: Fields, signature: &[u8]) -> Result<FileTime> {
    let mut info = content.take(tag::SEQUENCE, "a time stamp")?.fields();
    info.take(tag::INTEGER, "version of a time stamp")?;
    info.take(tag::OBJECT_IDENTIFIER, "policy of a time stamp")?;
    let mut imprint = info.take(tag::SEQUENCE, "hash in a time stamp")?.fields();
    let algorithm = imprint
        .take(tag::SEQUENCE, "hash in a time stamp")?
        .fields()
        .take(tag::OBJECT_IDENTIFIER, "hash in a time stamp")?;
    let stamped = imprint.take(tag::OCTET_STRING, "hash in a time stamp")?;
    if Hash::by_id(&algorithm.oid()?)?.of(signature) != stamped.content {
        return Err(Error::corrupt("the time stamp is of another signature").at(stamped.offset));
    }
    info.take(tag::INTEGER, "number of a time stamp")?;
    info.take(tag::GENERALIZED_TIME, "time of a time stamp")?.time()
}

/// A time counts if the one who says it may, and is known.
fn known_stamp(by: &Certificate, certificates: &[Certificate], time: FileTime) -> Result<Stamp> {
    let name = by.subject();
    if !by.usages().contains(&oid::TIME_STAMPING) || !by.is_valid_at(time) {
        return Err(Error::corrupt(format_args!("{name} may not give time stamps at {time}")));
    }
    match chain(by, certificates, &mut Vec::new()) {
        (_, Top::Root(_)) => Ok(Stamp { time, by: name }),
        (chain, _) => {
            let last = chain.last().map(Certificate::issuer).unwrap_or_default();
            Err(Error::unsupported(format_args!("{name} gave it, for whom {last} vouches, who is not known here")))
        }
    }
}
