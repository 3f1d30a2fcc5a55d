//! A way in for the fuzz targets: an item as Application Insights gets it. No API.

use crate::breeze;
use crate::envelope::Sender;
use crate::item::{Context, Exception, Item, Level, RequestItem};

/// What is told.
#[derive(Debug)]
pub enum Told<'a> {
    /// A request.
    Request(RequestItem),
    /// An exception.
    Exception(Exception<'a>),
    /// Models, their input, and what they said.
    ModelData(&'a [String], &'a str, &'a str),
    /// A record of the log: logger, level, message, attributes.
    Log(&'a str, Level, &'a str, &'a [(String, String)]),
}

/// The batches of what is told, by a server with this key, host, service, workspace and container.
pub fn batches(sender: [String; 5], context: &Context, told: Vec<Told<'_>>) -> Vec<Vec<u8>> {
    let [key, host, service_name, workspace_name, container_id] = sender;
    let sender = Sender { key, host, service_name, workspace_name, container_id };
    let items: Vec<_> = told
        .into_iter()
        .map(|told| match told {
            Told::Request(request) => Item::request(context, request),
            Told::Exception(exception) => Item::exception(context, &exception),
            Told::ModelData(models, input, prediction) => Item::model_data(context, models, input, prediction),
            Told::Log(logger, level, message, attributes) => {
                Item::log(Some(context), logger, level, message, attributes)
            }
        })
        .collect();
    breeze::batches(&sender, &items).into_iter().map(|batch| batch.body.to_vec()).collect()
}
