"""What scripts import from Azure ML's inference server: `api.aml_request` and `api.aml_response`."""
