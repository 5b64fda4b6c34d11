//! Which devices of a link are one and the same appliance.

use std::collections::BTreeSet;

use crate::device::profile::{LinkNeeds, Model, Online, Source};

/// Groups devices that listen to the same thing: they are one appliance. Each group names its devices
/// by their place; order is kept.
pub fn appliances(models: &[&Model]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(BTreeSet<String>, Vec<usize>)> = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let (mut marks, mut members) = (marks(model), vec![index]);
        let (same, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(known, _)| !known.is_disjoint(&marks));
        for (known, devices) in same {
            marks.extend(known);
            members.extend(devices);
        }
        members.sort_unstable();
        groups = others;
        groups.push((marks, members));
    }
    let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(_, members)| members).collect();
    groups.sort();
    groups
}

/// What nothing else on the link says.
fn marks(model: &Model) -> BTreeSet<String> {
    let mut marks: BTreeSet<String> = super::reads_of(model)
        .chain(model.events.iter().map(|event| &event.from))
        .filter_map(|read| match &read.source {
            Source::Topic { channel, .. } => Some(channel.to_string()),
            Source::Line { channel, .. } => Some(channel.to_string()),
            Source::Frame { ask: Some((query, _)), .. } => {
                Some(String::from_utf8_lossy(&query.payload).into_owned())
            }
            Source::Frame { ask: None, pattern, .. } => Some(pattern.as_str().to_owned()),
            Source::Obis { read_out: Some((query, _)), .. } => Some(query.channel.to_string()),
            Source::Obis { read_out: None, .. } => Some("telegram".to_owned()),
            Source::Registers(_) | Source::File { .. } | Source::Property(_) | Source::Item(_) => None,
        })
        .collect();
    if let Online::Topic(read) = &model.online
        && let Source::Topic { channel, .. } = &read.source
    {
        marks.insert(channel.to_string());
    }
    match &model.link {
        LinkNeeds::Modbus(needs) => _ = marks.insert(format!("unit {}", needs.unit)),
        LinkNeeds::W1(folder) => _ = marks.insert(folder.to_string()),
        LinkNeeds::Mqtt { .. }
        | LinkNeeds::Serial(_)
        | LinkNeeds::Meter(_)
        | LinkNeeds::Gpio(_)
        | LinkNeeds::Sip(_) => {}
    }
    marks
}
