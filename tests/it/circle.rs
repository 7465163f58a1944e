//! A circle: its members, their device keys, its named scripts, and their imports.

mod deploy;
mod devices;
mod imports;
mod members;
mod scripts;
