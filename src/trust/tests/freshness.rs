//! Expiry: no grace, both times named, and what staleness may waive.

use super::*;

fn stale(days: &str) -> Option<Statement> {
    Some(Statement {
        scope: "mirror.example/app".parse().unwrap(),
        max_staleness: Some(days.parse().unwrap()),
        require_current_tag: false,
        reason: Some("stick".into()),
        ..Statement::of("*".parse().unwrap())
    })
}

#[test]
fn a_clock_five_minutes_off() {
    let expiry = NOW.plus(7 * DAY);
    let [first, remembers] = both(|d| d.now = expiry.plus(-300));
    assert_eq!([first, remembers], ["trusted by state"; 2]);
    for secs in [0, 300] {
        let mut d = Deployer::at_five();
        d.now = expiry.plus(secs);
        let report = d.verify();
        assert_eq!(outcome(&report), "no: tuf.timestamp.expired");
        let check = report.because().unwrap();
        assert_eq!(check.data["expired"], expiry.to_string());
        assert_eq!(check.data["now"], d.now.to_string());
        assert!(check.detail.contains(&expiry.to_string()) && check.detail.contains(&d.now.to_string()));
    }
}

#[test]
fn every_role_expires() {
    let codes = [
        Code::TufTimestampExpired,
        Code::TufSnapshotExpired,
        Code::TufTargetsExpired,
        Code::TufDelegationExpired,
        Code::RevocationExpired,
    ];
    for (role, code) in HEADINGS.into_iter().zip(codes) {
        for (waiver, waived) in [(None, false), (stale("30d"), true)] {
            let outcomes = both(|d| {
                d.sim.at_version(6, NOW);
                role(&mut d.sim).expires = NOW;
                d.statement = waiver.clone();
                d.serve();
            });
            let may = waived && matches!(code, Code::TufTimestampExpired | Code::TufSnapshotExpired);
            let expected = if may { "trusted by state".to_owned() } else { format!("no: {code}") };
            assert_eq!(outcomes, [expected.clone(), expected]);
        }
    }
}

#[test]
fn staleness_ends_with_the_second() {
    let limit = NOW.plus(7 * DAY + 30 * DAY);
    for (now, expected) in [(limit, "trusted by state"), (limit.plus(1), "no: tuf.timestamp.expired")] {
        let outcomes = both(|d| {
            (d.now, d.statement) = (now, stale("30d"));
        });
        assert_eq!(outcomes, [expected; 2]);
    }
    // The first of the two to expire counts for both.
    let [first, _] = both(|d| {
        d.sim.timestamp = heading(5, NOW, 40 * DAY);
        d.sim.snapshot = heading(5, NOW, DAY);
        (d.now, d.statement) = (NOW.plus(32 * DAY), stale("30d"));
        d.serve();
    });
    assert_eq!(first, "no: tuf.snapshot.expired");
    // Without a reason nothing is waived.
    let [first, _] = both(|d| {
        (d.now, d.statement) = (NOW.plus(8 * DAY), stale("30d"));
        d.statement.as_mut().unwrap().reason = None;
    });
    assert_eq!(first, "no: tuf.timestamp.expired");
}

#[test]
fn staleness_waives_no_rollback() {
    let mut d = Deployer::at_five();
    d.statement = stale("30d");
    d.trusted();
    d.sim.at_version(4, NOW);
    d.serve();
    d.now = NOW.plus(8 * DAY);
    assert_eq!(d.outcome(), "no: tuf.timestamp.rollback");
}

/// Less than a third of a life left: a note, and nothing else changes.
#[test]
fn a_role_that_should_have_been_renewed_is_noted() {
    let ageing = [
        Code::TufTimestampAgeing,
        Code::TufSnapshotAgeing,
        Code::TufTargetsAgeing,
        Code::TufDelegationAgeing,
        Code::TufDelegationAgeing,
    ];
    let notes = |d: &mut Deployer| -> Vec<(Code, String)> {
        let report = d.verify();
        assert_eq!(outcome(&report), "trusted by state");
        let all = report.anchors.iter().flat_map(|a| &a.checks);
        let noted = all.filter(|c| c.outcome == Outcome::Note && c.code.as_str().ends_with(".ageing"));
        noted.map(|c| (c.code, c.data["expires"].as_str().unwrap().to_owned())).collect()
    };
    for (role, code) in HEADINGS.into_iter().zip(ageing) {
        let mut d = Deployer::new();
        d.sim.at_version(6, NOW);
        let heading = role(&mut d.sim);
        (heading.extra.at, heading.expires) = (NOW.plus(-2 * DAY), NOW.plus(DAY));
        d.serve();
        d.now = NOW.plus(-1);
        assert_eq!(notes(&mut d), [], "{code}: a third and a second is enough");
        d.now = NOW;
        assert_eq!(notes(&mut d), [(code, NOW.plus(DAY).to_string())]);
    }
}
