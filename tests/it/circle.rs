//! A circle: its members, its named scripts, and their imports.

mod imports;
mod members;
mod scripts;
