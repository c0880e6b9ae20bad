//! `keylet serve` as an operator runs it.

use std::process::Command;

use keylet_cli::fixtures::variables;

use crate::support::{Directory, Process, free_port, serve, wait_for};

fn hang_up(server: &Process) {
    let kill = Command::new("kill")
        .args(["-HUP", &server.0.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

#[test]
fn a_file_of_a_variable_is_read_again_at_sighup() {
    let directory = Directory::new("hang-up");
    let file = directory.file("content-keys.json");
    let mut variables = variables();
    let content_keys = variables.remove("content_keys").unwrap();
    std::fs::write(&file, &content_keys).unwrap();

    let port = free_port();
    let assignment = format!("content_keys=@{}", file.display());
    let server = serve(
        port,
        &["--in-memory", "--variable", &assignment],
        &variables,
    );
    let health = || {
        let url = format!("http://127.0.0.1:{port}/healthz");
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent.get(url).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    };
    assert_eq!(health().0, 200);

    std::fs::write(&file, "[]").unwrap();
    assert_eq!(health().0, 200, "nobody has asked for it to be read");
    hang_up(&server);
    wait_for(|| health().0 == 503);
    assert!(health().1.contains("content_keys"));

    std::fs::write(&file, content_keys).unwrap();
    hang_up(&server);
    wait_for(|| health().0 == 200);

    // A file that is gone leaves everything as it was.
    std::fs::remove_file(&file).unwrap();
    hang_up(&server);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(health().0, 200);
}
