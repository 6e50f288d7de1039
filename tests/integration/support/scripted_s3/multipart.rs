//! Objects that are written in parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::header;
use md5::{Digest as _, Md5};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::{Answer, escaped};
use super::bucket::{Bucket, Object, etag, names};
use super::request::S3Request;

/// The least size of a part that is not the last one.
pub(super) const PART_BYTES_MIN: usize = 5 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Multipart {
    key: String,
    started: SystemTime,
    parts: BTreeMap<u32, Bytes>,
}

impl Bucket {
    pub(super) fn create_multipart(&mut self, request: &S3Request, now: SystemTime) -> Answer {
        self.last_multipart += 1;
        let id = format!("multipart-{}", self.last_multipart);
        let key = request.key.clone();
        let answer = Answer::new(200).xml(&format!(
            "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{}</Key>\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            escaped(&key)
        ));
        self.multiparts.insert(id, Multipart { key, started: now, parts: BTreeMap::new() });
        answer
    }

    pub(super) fn list_multiparts(&self, request: &S3Request) -> Answer {
        let limit = request.parameter("max-uploads").and_then(|text| text.parse().ok());
        let marker = request.parameter("key-marker").unwrap_or_default();
        let mut open: Vec<_> = self.multiparts.iter().collect();
        open.retain(|(_, open)| open.key.starts_with(&request.key) && open.key.as_str() > marker);
        open.sort_by_key(|(id, open)| (open.key.clone(), open.started, (*id).clone()));
        let shown = open.len().min(limit.unwrap_or(1_000));
        let mut xml = format!(
            "<ListMultipartUploadsResult><Bucket>bucket</Bucket><IsTruncated>{}</IsTruncated>",
            shown < open.len()
        );
        for (id, open) in &open[..shown] {
            let started = OffsetDateTime::from(open.started).format(&Rfc3339).expect("a date");
            write!(
                xml,
                "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiated>{started}</Initiated>\
                 </Upload>",
                escaped(&open.key)
            )
            .expect("a string can be written");
        }
        if let Some((id, last)) = open[..shown].last().filter(|_| shown < open.len()) {
            write!(
                xml,
                "<NextKeyMarker>{}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>",
                escaped(&last.key)
            )
            .expect("a string can be written");
        }
        Answer::new(200).xml(&(xml + "</ListMultipartUploadsResult>"))
    }

    pub(super) fn upload_part(&mut self, request: &S3Request) -> Result<Answer, Answer> {
        request.check_digests()?;
        let number = request.parameter("partNumber").and_then(|text| text.parse().ok());
        let number = number.filter(|number| (1..=10_000).contains(number));
        let number = number.ok_or_else(|| Answer::error(400, "InvalidArgument"))?;
        let multipart = self.multipart(request)?;
        multipart.parts.insert(number, request.body.clone());
        Ok(Answer::new(200).with(header::ETAG, etag(&request.body)))
    }

    pub(super) fn complete_multipart(&mut self, request: &S3Request) -> Result<Answer, Answer> {
        let part_bytes_min = self.part_bytes_min;
        if self.answers_repeated_completions
            && self.multipart(request).is_err()
            && self.objects.contains_key(&request.key)
        {
            let mut digests = Md5::new();
            let named = named_parts(&request.body);
            for (_, tag) in &named {
                digests.update(hex::decode(tag.trim_matches('"')).unwrap_or_default());
            }
            let etag = format!("\"{}-{}\"", hex::encode(digests.finalize()), named.len());
            return Ok(completed(&request.key, &etag));
        }
        self.multipart(request)?;
        self.check_condition(request)?;
        let multipart = self.multipart(request)?;
        let named = named_parts(&request.body);
        if named.is_empty() {
            return Err(Answer::error(400, "MalformedXML"));
        }
        if !named.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(Answer::error(400, "InvalidPartOrder"));
        }
        let (mut body, mut digests) = (BytesMut::new(), Md5::new());
        for (index, (number, tag)) in named.iter().enumerate() {
            let part = multipart.parts.get(number).filter(|part| names(tag, &etag(part)));
            let part = part.ok_or_else(|| Answer::error(400, "InvalidPart"))?;
            if part.len() < part_bytes_min && index + 1 < named.len() {
                return Err(Answer::error(400, "EntityTooSmall"));
            }
            body.extend_from_slice(part);
            digests.update(Md5::digest(part));
        }
        let sizes = named.iter().filter_map(|(number, _)| multipart.parts.get(number));
        let sizes: Vec<usize> = sizes.map(Bytes::len).collect();
        let etag = format!("\"{}-{}\"", hex::encode(digests.finalize()), named.len());
        // S3 dates the object when the upload was created, not when it was completed.
        let object = Object { body: body.freeze(), etag: etag.clone(), written: multipart.started };
        self.completed.push(sizes);
        self.objects.insert(request.key.clone(), object);
        self.multiparts.remove(request.parameter("uploadId").unwrap_or_default());
        Ok(completed(&request.key, &etag))
    }

    pub(super) fn abort_multipart(&mut self, request: &S3Request) -> Result<Answer, Answer> {
        self.multipart(request)?;
        self.multiparts.remove(request.parameter("uploadId").unwrap_or_default());
        Ok(Answer::new(204))
    }

    pub(super) fn list_parts(&mut self, request: &S3Request) -> Result<Answer, Answer> {
        let rows_max = request.parameter("max-parts").and_then(|text| text.parse().ok());
        let rows_max: usize = rows_max.unwrap_or(1_000);
        let multipart = self.multipart(request)?;
        let mut rows = String::new();
        for (number, part) in multipart.parts.iter().take(rows_max) {
            let (tag, size) = (escaped(&etag(part)), part.len());
            write!(
                rows,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><Size>{size}</Size>\
                 </Part>"
            )
            .expect("a string takes all");
        }
        Ok(Answer::new(200).xml(&format!(
            "<ListPartsResult><Bucket>bucket</Bucket><Key>{}</Key><IsTruncated>{}</IsTruncated>\
             {rows}</ListPartsResult>",
            escaped(&request.key),
            multipart.parts.len() > rows_max
        )))
    }

    fn multipart(&mut self, request: &S3Request) -> Result<&mut Multipart, Answer> {
        let id = request.parameter("uploadId").unwrap_or_default();
        let found = self.multiparts.get_mut(id).filter(|open| open.key == request.key);
        found.ok_or_else(|| Answer::error(404, "NoSuchUpload"))
    }
}

fn completed(key: &str, etag: &str) -> Answer {
    Answer::new(200).xml(&format!(
        "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>{}</Key><ETag>{}</ETag>\
         </CompleteMultipartUploadResult>",
        escaped(key),
        escaped(etag)
    ))
}

/// The parts that a completion names: numbers and tags.
fn named_parts(body: &[u8]) -> Vec<(u32, String)> {
    let body = String::from_utf8_lossy(body);
    let element = |part: &str, name: &str| {
        let start = part.find(&format!("<{name}>"))? + name.len() + 2;
        let text = &part[start..];
        Some(text[..text.find(&format!("</{name}>"))?].replace("&quot;", "\""))
    };
    let parts = body.split("<Part>").skip(1);
    parts
        .filter_map(|part| {
            Some((element(part, "PartNumber")?.parse().ok()?, element(part, "ETag")?))
        })
        .collect()
}
