use super::*;

fn session() -> Session {
    Session::new(VaultLogin::Cert { mount: "cert".to_owned(), role: None })
}

fn log_in(session: &Session, number: u32) -> SecretString {
    let auth = json!({"client_token": format!("t{number}"), "lease_duration": 3600, "renewable": true});
    session.accept(&auth).expect("a token")
}

fn refused() -> Outage {
    Outage::new(OutageReason::LoginRejected, "refused")
}

/// Logs in whenever it may, for this long, and has each token refused: when.
async fn refused_logins(session: &Session, time: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let mut logins = Vec::new();
    while begun.elapsed() < time {
        if session.fresh_failure().is_none() {
            let token = log_in(session, 0);
            logins.push(begun.elapsed());
            assert_eq!(session.refused(&token, refused), Refused::WasNew);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    logins
}

#[tokio::test(start_paused = true)]
async fn logins_whose_tokens_are_refused_come_less_and_less_often() {
    let session = session();
    let logins = refused_logins(&session, Duration::from_secs(3600)).await;
    let pauses: Vec<u64> =
        logins.windows(2).map(|pair| (pair[1] - pair[0]).as_millis().next_multiple_of(500) as u64).collect();
    let growth = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000];
    assert_eq!(pauses.get(..10), Some(growth.as_slice()), "{pauses:?}");
    assert!(pauses.get(10..).is_some_and(|rest| rest.iter().all(|pause| *pause == 300_000)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn only_an_accepted_request_ends_the_growth() {
    let session = session();
    refused_logins(&session, Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let token = log_in(&session, 1);
    session.accepted(&SecretString::from("another one"));
    assert_eq!(session.refused(&token, refused), Refused::WasNew);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(session.fresh_failure().is_some(), "a login alone has ended nothing");
    tokio::time::sleep(Duration::from_secs(200)).await;
    let token = log_in(&session, 2);
    session.accepted(&token);
    // It ends later, as all tokens do: the next login is at once, and its own pauses begin anew.
    assert_eq!(session.refused(&token, refused), Refused::IsForgotten);
    assert!(session.fresh_failure().is_none());
    let token = log_in(&session, 3);
    assert_eq!(session.refused(&token, refused), Refused::WasNew);
    tokio::time::sleep(REFUSED_PAUSE.0).await;
    assert!(session.fresh_failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn logins_that_fail_are_tried_again_within_a_start() {
    let session = session();
    for _ in 0..20 {
        session.reject(&refused());
    }
    tokio::time::sleep(LOGIN_PAUSE.1).await;
    assert!(session.fresh_failure().is_none());
}
