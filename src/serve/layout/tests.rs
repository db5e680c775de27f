use std::fs;
use std::path::PathBuf;

use super::*;
use crate::metadata::apply::tests::create_command;
use crate::metadata::{Endpoint, Image};
use crate::runtime::Config;

/// The data directory of one test, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tidemill-layout-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn data(&self) -> DataDirectory {
        DataDirectory::new(&self.0, None)
    }

    /// A partition's directory with one file of records.
    fn add_directory(&self, name: &str, id: TopicId, cluster_id: &str) {
        fs::create_dir_all(self.0.join(name)).unwrap();
        fs::write(self.0.join(name).join("00000000000000000000.log"), name).unwrap();
        let text = format!("version: 0\ntopic_id: {id}\ncluster_id: {cluster_id}\n");
        fs::write(self.0.join(name).join("partition.metadata"), text).unwrap();
    }

    /// The first directory whose name begins and ends so, if it has its records.
    fn find(&self, start: &str, end: &str) -> Option<PathBuf> {
        let mut names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = names.find(|name| name.starts_with(start) && name.ends_with(end))?;
        Some(self.0.join(name)).filter(|path| path.join("00000000000000000000.log").exists())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens the metadata log, with a cluster of node 1 in it, and runs `life`.
fn live<T: 'static>(scratch: &Scratch, life: impl AsyncFnOnce(Controller, DataDirectory) -> T + 'static) -> T {
    let data = scratch.data();
    let main = async move || {
        let controller = Controller::open(&data.metadata_directory(), None).await.unwrap().controller;
        if controller.image().cluster_id.is_empty() {
            let node = Command::NodeStarted {
                node: NodeId(1),
                incarnation: 1,
                endpoints: vec![Endpoint { listener: "A".into(), host: "h".into(), port: 1 }],
                shards: 1,
                routing: crate::config::Routing::Direct,
                rack: "r".into(),
            };
            controller.propose(vec![Command::FormatCluster { cluster_id: "c".into() }, node]).await.unwrap();
        }
        life(controller, data).await
    };
    runtime::run(Config::default(), main).unwrap()
}

async fn create(controller: &Controller, name: &str) -> TopicId {
    let committed = controller.propose(vec![create_command(&controller.image(), name, &[&[1]])]).await.unwrap();
    committed.image.topic(name).unwrap().id
}

async fn adopt(controller: &Controller, data: &DataDirectory) {
    let config = crate::config::load(None, &["node.id=1".to_owned()]).unwrap();
    adopt_directories(controller, &config, data).await.unwrap();
}

async fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        runtime::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("the condition did not become true");
}

#[test]
fn shard_4_a_directory_is_removed_only_if_the_metadata_log_deleted_its_topic() {
    let scratch = Scratch::new("tombstones");
    let (gone, known) = live(&scratch, async |controller, _| {
        let gone = create(&controller, "gone").await;
        controller.propose(vec![Command::DeleteTopic { id: gone }]).await.unwrap();
        (gone, create(&controller, "known").await)
    });
    // The crash that interrupted the deletion left the directory. The log lost the topic `lost`.
    let lost = TopicId([9; 16]);
    scratch.add_directory("gone-0", gone, "c");
    scratch.add_directory("known-0", known, "c");
    scratch.add_directory("lost-0", lost, "c");
    fs::create_dir(scratch.0.join("backup-delete")).unwrap();
    for _ in 0..2 {
        let root = scratch.0.clone();
        live(&scratch, async move |controller, data| {
            adopt(&controller, &data).await;
            let names = || fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
            wait_until(|| names().all(|name| !name.to_string_lossy().starts_with("gone"))).await;
            assert!(controller.image().topic("lost").is_none());
        });
        assert_eq!(scratch.find("gone", ""), None);
        assert!(scratch.find("known-0", "").is_some() && scratch.0.join("backup-delete").exists());
        assert!(scratch.find("lost-0.", "-stray").is_some(), "the records stay");
    }
    // The advice of the log line.
    fs::rename(scratch.find("lost-0.", "-stray").unwrap(), scratch.0.join("lost-0")).unwrap();
    fs::write(scratch.0.join("lost-0/partition.metadata"), format!("version: 0\ntopic_id: {lost}\n")).unwrap();
    let image: Arc<Image> = live(&scratch, async |controller, data| {
        adopt(&controller, &data).await;
        controller.image()
    });
    assert_eq!(image.topic("lost").map(|topic| topic.id), Some(lost));
    assert!(scratch.find("lost-0", "").is_some());
}

#[test]
fn redistributed_checkpoints_record_the_index_of_the_metadata() {
    let scratch = Scratch::new("redistributed");
    live(&scratch, async |controller, data| {
        create(&controller, "t").await;
        let image = controller.image();
        let settings = ["node.id=1", "memory.bytes=67108864", "journal.bytes=134217728"].map(str::to_owned);
        let config = Arc::new(crate::config::load(None, &settings).unwrap());
        assert_eq!(prepare(&image, &config, &data, None, 1).await.unwrap(), 0);
        let meta = Meta::load(&data).unwrap();
        let layout = prepare(&image, &config, &data, meta, 2).await.unwrap();
        for shard in 0..2 {
            let checkpoint = Checkpoint::load(&data.checkpoint_path(layout, shard)).await.unwrap().unwrap();
            assert_eq!((layout, checkpoint.head.metadata_index), (1, image.index), "shard {shard}");
        }
    });
}
