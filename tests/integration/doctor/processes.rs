//! What the admin ports of the processes tell.

use super::played::{answer, play};
use super::{ADMIN, Examined, examine, of, strs};
use crate::cache::redis_server::{self, free_port};
use crate::support::process::Process;
use crate::support::scripted_s3::ScriptedS3;

/// Examines the first process, and the admin ports of all.
fn examine_all(processes: &[&Process]) -> Examined {
    let mut arguments = vec![format!("http://{}", processes[0].address)];
    for process in processes {
        arguments.extend(of(process)[1..].iter().cloned());
    }
    examine(&strs(&arguments), &[])
}

/// A process with other settings than the rest.
#[tokio::test(flavor = "multi_thread")]
async fn other_settings_of_a_process_are_found() {
    let s3 = ScriptedS3::start().await;
    let first = Process::over_s3(&s3, &[ADMIN]);
    let second = Process::over_s3(&s3, &[ADMIN, ("LONGSHORE_LOG_LEVEL", "debug")]);
    let examined = examine_all(&[&first, &second]);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    let third = Process::over_s3(&s3, &[ADMIN, ("LONGSHORE_LISTS_PAGE_MAX", "7")]);
    let what = examine_all(&[&first, &second, &third]).only("settings");
    assert!(what.contains(&third.admin_address().to_string()), "{what}");
}

/// An upgrade that has stopped half-way, a file that cannot be read, a clock that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_metrics_say_is_found() {
    let metrics = "longshore_build_info{version=\"0.0.9\"} 1\n\
        longshore_config_last_reload_successful{file=\"htpasswd\"} 0\n\
        longshore_store_clock_difference_seconds -200\n";
    let other = play(move |_, _| answer(200, &[], metrics)).await;
    let process = Process::serve("memory", &[ADMIN]);
    let mut arguments = of(&process).to_vec();
    arguments.extend(["--admin".to_owned(), format!("http://{other}")]);
    let examined = examine(&strs(&arguments), &[]);
    let expected = ["versions", "settings", "store-clock", "reload"];
    assert_eq!(examined.classes(), expected, "{:?}", examined.ended);
    let seen = examined.findings[0]["seen"].as_str().expect("text");
    assert!(seen.contains(&format!("0.0.9 at http://{other}")), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_port_that_gives_no_answer_is_found() {
    let process = Process::serve("memory", &[ADMIN]);
    let registry = format!("http://{}", process.address);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let what = examine(&[&registry, "--admin", &nowhere], &[]).only("admin");
    assert!(what.to_lowercase().contains("refused"), "{what}");
    // The port of the registry is not that of the administration.
    let examined = examine(&[&registry, "--admin", &registry], &[]);
    assert_eq!(examined.classes(), ["not-ready", "admin"], "{:?}", examined.ended);
}

/// B221: Redis that refuses writes, by its reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_be_written_is_found() {
    // A replica, as after a failover that the settings have not followed.
    let replica = ["--replicaof", "127.0.0.1", "1"];
    let Some(redis) = redis_server::start(&replica).await else { return };
    let (s3, url) = (ScriptedS3::start().await, redis.url());
    let process = Process::over_s3(&s3, &[ADMIN, ("LONGSHORE_CACHE_REDIS", &url)]);
    let what = examine(&strs(&of(&process)), &[]).only("redis-errors");
    assert!(what.contains("read_only"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_is_found() {
    let Some(mut redis) = redis_server::start(&[]).await else { return };
    let (s3, url) = (ScriptedS3::start().await, redis.url());
    let process = Process::over_s3(&s3, &[ADMIN, ("LONGSHORE_CACHE_REDIS", &url)]);
    let arguments = of(&process);
    let examined = examine(&strs(&arguments), &[]);
    assert_eq!((examined.code, examined.classes()), (Some(0), vec![]), "{:?}", examined.ended);
    redis.kill();
    let what = examine(&strs(&arguments), &[]).only("redis");
    assert!(what.contains("connection_refused"), "{what}");
}

/// B221: a password that Redis does not take.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_the_login_is_found() {
    let Some(redis) = redis_server::start(&["--requirepass", "secret"]).await else { return };
    let (s3, url) = (ScriptedS3::start().await, redis.url());
    let variables =
        [ADMIN, ("LONGSHORE_CACHE_REDIS", url.as_str()), ("LONGSHORE_CACHE_REDIS_PASSWORD", "no")];
    let process = Process::over_s3(&s3, &variables);
    let what = examine(&strs(&of(&process)), &[]).only("redis");
    assert!(what.contains("login"), "{what}");
}
