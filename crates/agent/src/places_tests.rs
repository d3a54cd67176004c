use super::*;
use crate::caller::owner_named;
use futures_util::FutureExt as _;

const MIB: usize = 1024 * 1024;

fn places() -> Places {
    Places::new(PlaceLimits { requests: 2, body: 2 * MIB })
}

fn place(places: &Places, owner: &Owner) -> Place {
    places.place(owner, false).unwrap_or_else(|_| panic!("a place"))
}

#[test]
fn places_are_each_callers_own_and_come_back() {
    let places = places();
    let (alice, bob) = (owner_named("alice"), owner_named("bob"));
    let of_alice = [place(&places, &alice), place(&places, &alice)];
    assert!(places.place(&alice, true).is_err());
    assert!(places.place(&bob, true).is_ok());
    drop(of_alice);
    assert!(places.place(&alice, true).is_ok());
    assert_eq!(places.shares(), 0, "nobody who is gone is kept");
    let everybody = [(); 5].map(|()| places.public());
    assert!(everybody.iter().all(Result::is_ok));
}

#[test]
fn a_stream_leaves_its_place_to_the_next_request() {
    let places = places();
    let alice = owner_named("alice");
    let mut streams: Vec<Place> = (0..5)
        .map(|_| {
            let mut stream = place(&places, &alice);
            stream.is_a_stream();
            stream
        })
        .collect();
    let share = Arc::clone(&streams[0].share);
    streams.truncate(1);
    assert!(Arc::ptr_eq(&place(&places, &alice).share, &share), "it is the same caller all the time");
    drop((streams, share));
    assert_eq!(places.shares(), 1, "the last one had a witness");
}

/// Found: 256 bodies of tokens without their keys held 512 MiB.
#[tokio::test(start_paused = true)]
async fn bodies_of_one_caller_and_of_all_are_bounded() {
    let places = Places::new(PlaceLimits { requests: 256, body: 2 * MIB });
    let mut held = Vec::new();
    for number in 0..256 {
        let mut place = place(&places, &owner_named(&format!("thief {}", number % 16)));
        if place.room_for_body(2 * MIB).await.is_ok() {
            held.push(place);
        }
    }
    assert_eq!(held.len(), 6, "no more than 12 MiB are held");
    // Whoever has proved who it is does not wait for those.
    let alice = owner_named("alice");
    places.note_proof(&alice);
    let begun = tokio::time::Instant::now();
    let mut of_alice = Vec::new();
    for _ in 0..3 {
        let mut place = place(&places, &alice);
        assert_eq!(place.room_for_body(2 * MIB).await, Ok(()));
        of_alice.push(place);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(place(&places, &alice).room_for_body(2 * MIB).await, Err(NoRoom), "half is her part");
    // What has come and is shorter than it might have been leaves the rest to others.
    for place in &mut of_alice {
        place.body_has_come(MIB);
    }
    assert_eq!(place(&places, &alice).room_for_body(2 * MIB).await, Ok(()));
}

/// Found: twenty answers that nobody read held 290 MiB.
#[tokio::test(start_paused = true)]
async fn answers_on_their_way_are_bounded_with_authentication_off_as_well() {
    let places = places();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut place = place(&places, &Owner::Everybody);
        if place.room_for_answer(14 * MIB).await.is_ok() {
            held.push(place);
        }
    }
    assert_eq!(held.len(), 1);
    held.clear();
    assert_eq!(place(&places, &Owner::Everybody).room_for_answer(100 * MIB).await, Ok(()), "alone");
}

/// Found: readers of a busy agent were refused while others took their answers slowly.
#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_as_long_as_others_get_on() {
    const CUT_OFF: Duration = Duration::from_secs(30);
    let places = places();
    let long = async |is_stream: bool| {
        let mut place = place(&places, &Owner::Everybody);
        if is_stream {
            place.begins_stream(CUT_OFF);
        }
        place.room_for_answer(ANSWER_BYTES).await.map(|()| place)
    };
    assert!(long(true).await.is_ok());
    // One after the other, each until it would have been cut off in a second.
    let each = (0..10).map(|_| async {
        let slow = long(true).await;
        tokio::time::sleep(CUT_OFF - Duration::from_secs(1)).await;
        slow.is_ok()
    });
    let late = async {
        tokio::task::yield_now().await;
        long(false).await.is_err()
    };
    let (streams, is_late_refused) = tokio::join!(futures_util::future::join_all(each), late);
    assert_eq!(streams, [true; 10]);
    assert!(is_late_refused, "an answer can be asked for again");
    let _stuck = long(true).await.unwrap_or_else(|_| panic!("room"));
    let begun = tokio::time::Instant::now();
    assert!(long(true).await.is_err() && begun.elapsed() == CUT_OFF + WAIT, "nobody gets on");
}

#[tokio::test]
async fn one_callers_work_leaves_a_turn_to_the_others() {
    let places = places();
    let (alice, bob) = (owner_named("alice"), owner_named("bob"));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = place(&places, &alice);
    let turn = Arc::clone(&first.share.work);
    let first = tokio::spawn(async move { first.work(MIB, move || wait.recv().is_ok()).await });
    while turn.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = place(&places, &alice);
    let mut second = Box::pin(second.work(MIB, || true));
    assert!(second.as_mut().now_or_never().is_none(), "she has one thread at a time");
    let bob = place(&places, &bob);
    assert_eq!(bob.work(QUICK, || true).now_or_never(), Some(true), "what is quick waits for nobody");
    go.send(()).unwrap();
    assert!(first.await.unwrap() && second.await);
}
