//! An SPC explained: every TLLV by name, and what is read from it.

use serde_json::{Value, json};

use crate::encoding;
use crate::fairplay::check_in::Report;
use crate::fairplay::client::{Client, OfflineSync, VmSide};
use crate::fairplay::device::os_version;
use crate::fairplay::spc::OpenedSpc;
use crate::fairplay::tag::Tag;
use crate::id::Id;

/// Explains an SPC whose payload is decrypted. [SK..R1] stays encrypted; values of tags that are not
/// public are given as they are, in hexadecimal.
pub fn explain(spc: &OpenedSpc<'_>) -> Value {
    let blocks: Vec<Value> = spc
        .tllvs
        .iter()
        .map(|tllv| {
            json!({
                "tag": tllv.tag.to_string(),
                "name": tllv.tag.name(),
                "offset": tllv.offset,
                "length": tllv.value.len(),
                "value": hex::encode(tllv.value),
                "returned": spc.return_tags.binary_search(&tllv.tag).is_ok(),
                "meaning": meaning(tllv.tag, spc),
            })
        })
        .collect();
    let client = &spc.client;
    json!({
        "spc_version": spc.version.number(),
        "credential": spc.credential.name,
        "asset_id": Id::from_bytes(&spc.asset_id).to_string(),
        "protocol_version": spc.protocol_version,
        "device_class": client.device_class().name(),
        "os": client.os_version().map(|version| version.to_string()),
        "tllvs": blocks,
    })
}

/// What a block says, where there is more to it than bytes.
fn meaning(tag: Tag, spc: &OpenedSpc<'_>) -> Option<Value> {
    let client: &Client = &spc.client;
    Some(match tag {
        Tag::ASSET_ID => Id::from_bytes(&spc.asset_id).to_string().into(),
        Tag::PROTOCOL_VERSION_USED => spc.protocol_version.into(),
        Tag::PROTOCOL_VERSIONS_SUPPORTED => json!(spc.protocol_versions),
        Tag::RETURN_REQUEST => spc
            .return_tags
            .iter()
            .map(|tag| {
                tag.name()
                    .map_or_else(|| tag.to_string(), ToOwned::to_owned)
            })
            .collect(),
        Tag::STREAMING_INDICATOR => client.streaming?.name().into(),
        Tag::MEDIA_PLAYBACK_STATE => {
            let playback = client.playback?;
            json!({
                "date": playback.date,
                "state": playback.state.name(),
                "session": format!("{:016x}", playback.session_id),
            })
        }
        Tag::CAPABILITIES => json!(client.capabilities?.names()),
        Tag::SUPPORTED_KEY_FORMATS => client
            .key_formats
            .as_ref()?
            .iter()
            .map(|format| format!("{format:016x}"))
            .collect(),
        Tag::SECURITY_LEVEL_REPORT => {
            json!({"level": format!("{:016x}", client.security_level?), "kdl": client.kdl_version})
        }
        Tag::KDL_VERSION_REPORT => client.kdl_version?.into(),
        Tag::DEVICE_INFO => {
            let info = client.device_info?;
            json!({"device_type": format!("{:016x}", info.device_type), "os": os_version(info.os_version).to_string()})
        }
        Tag::DEVICE_IDENTITY => {
            let identity = client.device_identity?;
            json!({
                "version": identity.version,
                "class": identity.class,
                "vendor_hash": format!("{:016x}", identity.vendor_hash),
                "product_hash": format!("{:016x}", identity.product_hash),
                "fps_ree": format!("{:08x}", identity.fps_ree_version),
                "fps_tee": format!("{:08x}", identity.fps_tee_version),
                "os": os_version(identity.os_version).to_string(),
            })
        }
        Tag::VM_DEVICE_INFO => {
            let vm = client.vm_device_info?;
            let side = |side: VmSide| {
                json!({
                    "class": side.class,
                    "os": os_version(side.os_version).to_string(),
                    "protocol": side.protocol_version,
                })
            };
            json!({"host": side(vm.host), "guest": side(vm.guest)})
        }
        Tag::OFFLINE_SYNC => sync(client.offline_sync.as_ref()?),
        _ => return None,
    })
}

fn sync(sync: &OfflineSync) -> Value {
    let mut report = json!(Report::from_sync(sync));
    if let (
        OfflineSync::V2 {
            server_challenge, ..
        },
        Some(report),
    ) = (sync, report.as_object_mut())
    {
        let challenge =
            encoding::members([("challenge", format!("{server_challenge:016x}").into())]);
        report.extend(challenge);
    }
    report
}
