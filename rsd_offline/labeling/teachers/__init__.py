"""Who judges: servers, local models, batch files and controls behind one interface (`base.Teacher`)."""
