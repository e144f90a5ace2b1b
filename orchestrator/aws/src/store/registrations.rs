//! Apps that registered their functions at run time: one item per app, and one item for the version
//! of all apps.
//!
//! If the configs of an app are large, they are stored as parts, with a separate token for each
//! registration. A writer deletes the parts that its change replaces. If its change is refused, it
//! deletes its own parts.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use stepladder_core::Timestamp;
use stepladder_engine::clock::{Entropy, SystemEntropy};
use stepladder_engine::ports::{Registration, Registrations, StoreError, StoreResult, StoredRegistrations};

use super::starts::TransactionOutcome;
use crate::Aws;
use crate::item::{Item, ReadItem, key_attributes, new_item, text};
use crate::layout::{self, ItemKey};
use crate::value;

/// The attribute that marks an app as removed.
const REMOVED: &str = "removed";

/// The attribute that contains the version, which is compared as text.
const VERSION: &str = "version";

#[async_trait]
impl Registrations for Aws {
    async fn registrations_version(&self) -> StoreResult<u64> {
        self.get(&layout::apps_version()).await?.map_or(Ok(0), |item| version_of(&item))
    }

    async fn registrations(&self) -> StoreResult<StoredRegistrations> {
        let mut round = 0;
        loop {
            self.pause_before_round(&mut round, "Query", 1).await?;
            let items = self.query_partition(layout::APPS, true).await?;
            let (versions, apps): (Vec<_>, Vec<_>) =
                items.into_iter().partition(|item| item.text("SK").is_ok_and(|sk| sk == layout::MAIN));
            let version = versions.first().map_or(Ok(0), version_of)?;
            let present = apps.iter().filter(|item| !item.contains_key(REMOVED));
            match try_join_all(present.map(|item| self.app(item))).await {
                Ok(mut apps) => {
                    apps.sort_by(|a, b| a.app.cmp(&b.app));
                    return Ok(StoredRegistrations { version, apps });
                }
                // a concurrent change may have deleted the parts between the two reads, so they are
                // read again
                Err(StoreError::Unreadable(_)) if self.registrations_version().await? != version => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool> {
        let Registration { app, address, about, functions } = registration;
        let json = serde_json::to_string(&functions).map_err(StoreError::unreadable)?;
        let token = format!("{:032x}", SystemEntropy.bits());
        let packed = value::pack(json, layout::APPS, &token)?;
        if packed.has_parts() {
            // the parts never expire, because a registration has no end
            self.put_parts(&packed, self.ttl(Timestamp::MAX)).await?;
        }
        let mut item = key_attributes(&layout::app(&app));
        packed.add_to(&mut item);
        item.insert("app".into(), text(&*app));
        item.insert("address".into(), text(&*address));
        if let Some(about) = about {
            item.insert("about".into(), text(&*about));
        }
        self.change_apps(seen, item).await
    }

    /// Replaces the item of the app with a mark that expires, because `Aws::transact` can only
    /// put items.
    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool> {
        let mut mark = new_item(&layout::app(app), self.ttl(self.now()));
        mark.insert(REMOVED.into(), AttributeValue::Bool(true));
        self.change_apps(seen, mark).await
    }
}

impl Aws {
    /// Writes the item of an app and increments the version, if the version is the expected one.
    async fn change_apps(&self, seen: u64, app: Item) -> StoreResult<bool> {
        let key = ItemKey { pk: app.text("PK")?.to_owned(), sk: app.text("SK")?.to_owned() };
        let replaced = self.get(&key).await?;
        let mut version = key_attributes(&layout::apps_version());
        version.insert(VERSION.into(), text((seen + 1).to_string()));
        let expected = seen.to_string();
        let expected = (seen > 0).then_some((VERSION, expected.as_str()));
        let mut round = 0;
        let is_changed = loop {
            self.pause_before_round(&mut round, "TransactWriteItems", 2).await?;
            match self.transact(&version, expected, std::slice::from_ref(&app), &[]).await? {
                TransactionOutcome::Committed => break true,
                TransactionOutcome::Refused | TransactionOutcome::Overtaken => break false,
                TransactionOutcome::Busy => {}
            }
        };
        let unused = if is_changed { replaced } else { Some(app) };
        if let Some(item) = unused {
            self.delete_parts_of(&item).await?;
        }
        Ok(is_changed)
    }

    async fn delete_parts_of(&self, item: &Item) -> StoreResult<()> {
        let Some(partition) = value::parts_partition(item) else { return Ok(()) };
        let parts = usize::try_from(item.number("n")?).unwrap_or(0);
        let keys: Vec<ItemKey> = (0..parts).map(|i| layout::part_key(partition, i)).collect();
        try_join_all(keys.iter().map(|key| self.delete(key))).await.map(drop)
    }

    async fn app(&self, item: &Item) -> StoreResult<Registration> {
        let functions = serde_json::from_str(&self.unpack(item).await?);
        let invalid = |error| StoreError::Unreadable(format!("the functions of a registered app: {error}").into());
        Ok(Registration {
            app: item.text("app")?.into(),
            address: item.text("address")?.into(),
            about: item.contains_key("about").then(|| item.text("about")).transpose()?.map(Into::into),
            functions: functions.map_err(invalid)?,
        })
    }
}

fn version_of(item: &Item) -> StoreResult<u64> {
    let invalid = |_| StoreError::Unreadable("the version of the registered apps is not a number".into());
    item.text(VERSION)?.parse().map_err(invalid)
}
