//! Many requests of all kinds: every answer is right, and nothing that the process has grows without an end.

use keylet_cli::bench::soak::{self, Soak};
use keylet_cli::bench::{SETUPS, soak_plot};
use keylet_host::World;

#[test]
fn very_many_requests_are_answered_as_they_should_be_and_nothing_grows() {
    let requests = std::env::var("KEYLET_SOAK").map_or(600, |text| text.parse().unwrap());
    let setups = SETUPS
        .into_iter()
        .filter(|setup| !setup.is_fresh || setup.world != World::Wasip3);
    let soaked: Vec<Soak> = setups
        .map(|setup| soak::run(setup, requests).unwrap())
        .collect();
    for one in &soaked {
        println!("{}: {:.0} a second", one.setup, one.per_second);
        for sample in one.three().into_iter().flatten() {
            println!("{sample:?}");
        }
        let kinds = one.answered.len();
        assert!(kinds >= 20, "{:?}", one.answered);
        let answered: u64 = one.answered.iter().map(|answered| answered.requests).sum();
        assert_eq!(answered, requests);
        assert_eq!(one.growing(), [], "{}: {:?}", one.setup, one.samples);
    }
    if let Some(path) = std::env::var_os("KEYLET_SOAK_PLOT") {
        std::fs::write(path, soak_plot::svg(&soaked).unwrap()).unwrap();
    }
}
