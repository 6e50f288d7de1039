//! The scenarios, and for each the rules without which an invariant breaks.

use crate::collector::Phase;
use crate::manifests::{Push, TagCondition};
use crate::scenario::{Bounds, MISSING, Operation, SHORT, STORED, Scenario, UPLOADED};
use crate::store::{Body, Data, Key, Times};

const STORED_LINK: (Key, Body) = (Key::Link(0, 0), Body::Link { location: Some(STORED) });
const STORED_POINTER: (Key, Body) = (Key::Pointer(0), Body::Pointer { location: Some(STORED) });
const INLINE_LINK: (Key, Body) = (Key::Link(0, 0), Body::Link { location: None });
const MULTIPART: (Key, Body) = (
    Key::Session(0),
    Body::Session { location: Some(UPLOADED), multipart: true, offset: 1, committing: false },
);

const STAGED: Body =
    Body::Session { location: Some(UPLOADED), multipart: false, offset: 1, committing: false };
const COMMITTING: Body =
    Body::Session { location: Some(UPLOADED), multipart: true, offset: 1, committing: true };
const UPLOADED_POINTER: (Key, Body) = (Key::Pointer(0), Body::Pointer { location: Some(UPLOADED) });

fn image(tag: Option<u8>) -> Push {
    Push { manifest: 0, blobs: 1, external: 0, children: 0, tag }
}

pub(crate) fn all(bounds: Bounds) -> Vec<Scenario> {
    let mut all = uploads(bounds);
    all.extend(sharing(bounds));
    all.extend(manifests(bounds));
    all.extend(tags(bounds));
    if bounds == Bounds::Long {
        all.extend(two_collectors(bounds));
        for scenario in all.iter_mut().filter(|scenario| !scenario.faulty.is_empty()) {
            (scenario.losses, scenario.busy) = (1, 1);
        }
    }
    all
}

fn uploads(bounds: Bounds) -> Vec<Scenario> {
    use Operation::{Append, Cancel, Collect, Finish, PushSmall, Stage};
    const BLOB: (u8, u8) = (0, 0);
    let times = Scenario::new("", bounds, Vec::new()).times;
    let grace = times.grace;
    vec![
        Scenario {
            ablations: vec![
                ("the pointer carries a deadline (D1)", |r| r.pointer_dated = false),
                ("dated before its data (D2)", |r| r.dated_before_data = false),
                ("the store enforces deadlines", |r| r.deadlines = false),
            ],
            faulty: vec![0],
            losses: 1,
            ticks: grace + times.leak_margin + 2 * times.quarantine + 3,
            ..Scenario::new(
                "a blob in one request, and leaks",
                bounds,
                vec![PushSmall(BLOB), Collect(&[Phase::Leaks, Phase::Quarantine])],
            )
        },
        Scenario {
            ablations: vec![
                ("the staged session carries a deadline (D3)", |r| r.staged_dated = false),
                ("names are read in their direction", |r| r.names_read_forward = false),
            ],
            after: vec![(0, 1)],
            ticks: grace + times.leak_margin + 2 * times.quarantine + 3,
            ..Scenario::new(
                "a staged blob, and leaks",
                bounds,
                vec![Stage, Finish(BLOB), Collect(&[Phase::Leaks, Phase::Quarantine])],
            )
        },
        Scenario {
            bucket: vec![MULTIPART],
            data: vec![(UPLOADED, Data::Open)],
            ages: vec![0, grace + 1],
            ..Scenario::new(
                "a commit in parts, while its session is collected",
                bounds,
                vec![Finish(BLOB), Collect(&[Phase::Sessions, Phase::Quarantine])],
            )
        },
        Scenario {
            ablations: vec![
                ("a resumed commit touches its session (D4)", |r| r.resumed_touches = false),
                ("sessions end by compare-and-swap", |r| r.conditional_removal = false),
            ],
            bucket: vec![(Key::Session(0), COMMITTING)],
            data: vec![(UPLOADED, Data::Whole)],
            ages: vec![0, grace + 1],
            ..Scenario::new(
                "a commit that stopped before its pointer, resumed",
                bounds,
                vec![Finish(BLOB), Collect(&[Phase::Sessions, Phase::Quarantine])],
            )
        },
        Scenario {
            ablations: vec![("the quarantine reads sessions", |r| {
                r.quarantine_reads_sessions = false;
            })],
            bucket: vec![UPLOADED_POINTER],
            fresh: vec![(Key::Session(0), COMMITTING)],
            data: vec![(UPLOADED, Data::Whole)],
            after: vec![(1, 2)],
            ticks: times.quarantine + 2,
            ..Scenario::new(
                "a commit that stopped before its link, resumed",
                bounds,
                vec![Finish(BLOB), Collect(&[Phase::Pointers]), Collect(&[Phase::Quarantine])],
            )
        },
        Scenario {
            bucket: vec![MULTIPART],
            data: vec![(UPLOADED, Data::Open)],
            ages: vec![0],
            faulty: vec![0, 1, 2],
            losses: 1,
            ticks: 0,
            ..Scenario::new(
                "a session in parts, committed, cancelled and continued",
                bounds,
                vec![Finish(BLOB), Cancel, Append],
            )
        },
        Scenario {
            ablations: vec![("only who ended a session frees its data", |r| {
                r.free_after_end = false;
            })],
            bucket: vec![(Key::Session(0), STAGED)],
            data: vec![(UPLOADED, Data::Whole)],
            ages: vec![0],
            faulty: vec![0, 1],
            losses: 1,
            ticks: 0,
            ..Scenario::new(
                "a staged session, committed and cancelled",
                bounds,
                vec![Finish(BLOB), Cancel],
            )
        },
    ]
}

fn sharing(bounds: Bounds) -> Vec<Scenario> {
    use Operation::{Collect, DeleteBlob, Mount, PushInline, PushSmall};
    let times = Scenario::new("", bounds, Vec::new()).times;
    vec![
        Scenario {
            ablations: vec![
                ("an old pointer is touched before use", |r| r.lease = false),
                ("pointers are removed by compare-and-swap", |r| r.conditional_removal = false),
                ("links carry a deadline", |r| r.deadlines = false),
            ],
            bucket: vec![STORED_POINTER],
            data: vec![(STORED, Data::Whole)],
            ages: if bounds == Bounds::Short {
                vec![times.grace + 1]
            } else {
                vec![0, times.half_life, times.grace, times.grace + 1]
            },
            ..Scenario::new(
                "content that no repository has is pushed again",
                bounds,
                vec![PushSmall((0, 0)), Collect(&[Phase::Pointers, Phase::Quarantine])],
            )
        },
        Scenario {
            ablations: vec![("a pointer is used after a look at its data", |r| {
                r.head_on_adopt = false;
            })],
            bucket: vec![(Key::Pointer(0), Body::Pointer { location: Some(MISSING) })],
            settles: false,
            ticks: 1,
            ..Scenario::new(
                "a pointer whose data is missing",
                bounds,
                vec![PushSmall((0, 0)), PushSmall((1, 0))],
            )
        },
        Scenario {
            ablations: vec![("the link of a mount carries a deadline", |r| r.deadlines = false)],
            bucket: vec![STORED_LINK, STORED_POINTER],
            data: vec![(STORED, Data::Whole)],
            ..Scenario::new(
                "a mount, while its source is deleted",
                bounds,
                vec![
                    Mount { source: 0, target: 1 },
                    DeleteBlob(0, 0),
                    Collect(&[Phase::Pointers, Phase::Quarantine]),
                ],
            )
        },
        Scenario {
            bucket: vec![INLINE_LINK],
            ticks: times.grace + 1,
            ..Scenario::new(
                "an inline blob is pushed again",
                bounds,
                vec![
                    PushInline((0, 0)),
                    Collect(&[Phase::Links, Phase::Pointers, Phase::Quarantine]),
                ],
            )
        },
    ]
}

fn manifests(bounds: Bounds) -> Vec<Scenario> {
    use Operation::{Collect, PushManifest};
    let times = Scenario::new("", bounds, Vec::new()).times;
    let with_external = Push { blobs: 0, external: 1, ..image(None) };
    let index = Push { manifest: 1, blobs: 0, external: 0, children: 1, tag: Some(0) };
    let child = Body::Manifest { blobs: 0, external: 0, children: 0, doomed: false, generation: 1 };
    vec![
        Scenario {
            ablations: vec![
                ("a link is touched before a manifest relies on it", |r| r.lease = false),
                ("links are removed by compare-and-swap", |r| r.conditional_removal = false),
                ("frontends and collector share their settings", |r| r.equal_settings = false),
            ],
            bucket: vec![STORED_LINK, STORED_POINTER],
            data: vec![(STORED, Data::Whole)],
            ages: vec![times.half_life, times.grace + 1],
            faulty: vec![0],
            losses: 1,
            ..Scenario::new(
                "a manifest names an old link",
                bounds,
                vec![PushManifest(image(None)), Collect(&[Phase::Links])],
            )
        },
        Scenario {
            ablations: vec![("the manifest carries a deadline", |r| r.deadlines = false)],
            bucket: vec![INLINE_LINK],
            ages: vec![0],
            ..Scenario::new(
                "a manifest names a young link, and two runs",
                bounds,
                vec![PushManifest(image(None)), Collect(&[Phase::Links, Phase::Links])],
            )
        },
        Scenario {
            bucket: vec![INLINE_LINK, (Key::Link(1, 0), Body::Link { location: None })],
            page_rows: 1,
            ticks: 1,
            ..Scenario::new(
                "a manifest, and two collectors page by page",
                bounds,
                vec![PushManifest(image(None)), Collect(&[Phase::Links]), Collect(&[Phase::Links])],
            )
        },
        Scenario {
            ablations: vec![("external layers are listed and leased", |r| {
                r.external_listed = false;
            })],
            bucket: vec![INLINE_LINK],
            ..Scenario::new(
                "a manifest names an external layer",
                bounds,
                vec![PushManifest(with_external), Collect(&[Phase::Links])],
            )
        },
        Scenario {
            ablations: vec![("a link is seen unreferenced twice", |r| r.second_sighting = false)],
            bucket: vec![INLINE_LINK],
            ages: vec![0],
            times: Times { overdue: 2 * times.grace, ..times },
            ..Scenario::new(
                "a store that applies a dated write too late",
                bounds,
                vec![PushManifest(image(None)), Collect(&[Phase::Links])],
            )
        },
        Scenario {
            ablations: vec![
                ("a leased child is not doomed", |r| r.lease_is_checked = false),
                ("a child is touched before an index relies on it", |r| r.lease = false),
                ("the index carries a deadline", |r| r.deadlines = false),
                ("manifests are removed by compare-and-swap", |r| r.conditional_removal = false),
            ],
            bucket: vec![(Key::Manifest(0), child)],
            ages: vec![times.half_life, times.grace + 1],
            ..Scenario::new(
                "an index names an untagged child",
                bounds,
                vec![PushManifest(index), Collect(&[Phase::Untagged])],
            )
        },
    ]
}

fn two_collectors(bounds: Bounds) -> Vec<Scenario> {
    use Operation::{Collect, DeleteBlob, Mount};
    vec![Scenario {
        bucket: vec![STORED_LINK, STORED_POINTER],
        data: vec![(STORED, Data::Whole)],
        times: SHORT,
        ticks: SHORT.grace + 2,
        after: vec![(1, 2), (1, 3)],
        ..Scenario::new(
            "a mount, a deletion and two collectors",
            bounds,
            vec![
                Mount { source: 0, target: 1 },
                DeleteBlob(0, 0),
                Collect(&[Phase::Pointers, Phase::Quarantine]),
                Collect(&[Phase::Pointers, Phase::Quarantine]),
            ],
        )
    }]
}

fn tags(bounds: Bounds) -> Vec<Scenario> {
    use Operation::{Collect, DeleteManifest, DeleteTag, PushManifest, PushTag};
    let times = Scenario::new("", bounds, Vec::new()).times;
    let on = Body::Tag { manifest: 7, unconditional: true };
    vec![
        Scenario {
            ablations: vec![
                ("records name the versions before them", |r| r.past = false),
                ("409 is no lost race", |r| r.busy_is_retried = false),
            ],
            faulty: vec![0],
            losses: 1,
            busy: 1,
            ticks: 1,
            settles: false,
            ..Scenario::new(
                "a tag is created and moved",
                bounds,
                vec![
                    PushTag(0, TagCondition::None),
                    PushTag(1, TagCondition::PointsAt(0)),
                    DeleteTag,
                ],
            )
        },
        Scenario {
            ablations: vec![
                ("a tombstone has a nonce", |r| r.tombstone_nonce = false),
                ("the tag carries a deadline", |r| r.deadlines = false),
            ],
            bucket: vec![(Key::Tag(0), Body::Tombstone)],
            after: vec![(0, 1)],
            faulty: vec![0],
            losses: 1,
            ticks: 2 * times.grace + 2,
            settles: false,
            ..Scenario::new(
                "a deleted tag is pushed and deleted",
                bounds,
                vec![PushTag(0, TagCondition::None), DeleteTag, Collect(&[Phase::Tombstones])],
            )
        },
        Scenario {
            ablations: vec![("a push ends with touching its manifest", |r| {
                r.push_touches_last = false
            })],
            bucket: vec![],
            faulty: vec![0],
            busy: 1,
            ticks: 0,
            settles: false,
            ..Scenario::new(
                "a manifest is pushed and deleted",
                bounds,
                vec![PushManifest(Push { blobs: 0, ..image(Some(0)) }), DeleteManifest(0)],
            )
        },
        Scenario {
            ablations: vec![
                ("a row of the tag index is touched", |r| r.lease = false),
                ("the tag carries a deadline", |r| r.deadlines = false),
                ("a phase begins with its first listing", |r| r.first_listing_is_begin = false),
            ],
            bucket: vec![(Key::TagIndex(0, 0), Body::TagIndex), (Key::Tag(0), on)],
            after: vec![(0, 1)],
            settles: false,
            ..Scenario::new(
                "a row of the tag index is collected",
                bounds,
                vec![
                    PushManifest(Push { blobs: 0, ..image(Some(0)) }),
                    DeleteManifest(0),
                    Collect(&[Phase::TagIndexes]),
                ],
            )
        },
    ]
}
