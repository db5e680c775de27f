use super::*;
use crate::metadata::apply::tests::create_command;
use crate::runtime::{self, Config};

/// Runs `test` with a controller that has committed node 1 and nothing else.
fn run(test: impl AsyncFnOnce(Controller) + 'static) {
    let path = std::env::temp_dir().join(format!("tidemill-published-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    let dir = path.clone();
    let main = async move || {
        let controller = Controller::open(&dir, None).await.unwrap().controller;
        let node = Command::NodeStarted {
            node: NodeId(1),
            incarnation: 1,
            endpoints: vec![crate::metadata::Endpoint { listener: "A".into(), host: "h".into(), port: 1 }],
            shards: 1,
            routing: crate::config::Routing::Direct,
            rack: "r".into(),
        };
        controller.propose(vec![Command::FormatCluster { cluster_id: "c".into() }, node]).await.unwrap();
        test(controller).await;
    };
    runtime::run(Config::default(), main).unwrap();
    let _ = std::fs::remove_dir_all(&path);
}

#[test]
fn api_1_images_are_published_in_commit_order_and_each_deletion_is_published() {
    run(async |controller| {
        let local = LocalController::watch(controller.clone());
        let create = async |name| {
            let command = create_command(&controller.image(), name, &[&[1]]);
            controller.propose(vec![command]).await.unwrap().image
        };
        create("a").await;
        let topic = controller.image().topic("a").unwrap().id;
        let deleted = controller.propose(vec![Command::DeleteTopic { id: topic }]).await.unwrap().image;
        create("a").await;
        let newest = create("b").await;
        for expected in [deleted, newest] {
            let next = local.next_unpublished().await;
            assert_eq!(next.image.index, expected.index);
            local.published(&next);
            assert_eq!(local.published.get(), expected.index);
        }
        assert!(local.unpublished.borrow().is_empty());
    });
}
