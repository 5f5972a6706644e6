"""The front door of a study: study.toml -> the stages in order, each with a key, resumed where it stopped."""
