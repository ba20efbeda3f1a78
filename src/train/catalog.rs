//! The built-in recipes by name: the files in `recipes/`, which are part of the program.

/// A built-in recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The recipe's name: that of its file, with dashes.
    pub name: &'static str,
    /// The name of the model that it trains. The first recipe of a model also has the model's name.
    pub model: &'static str,
    /// The file.
    pub text: &'static str,
}

impl Entry {
    /// Whether it is a small recipe of this project and not a published run.
    pub fn is_tiny(&self) -> bool {
        self.name.ends_with("-tiny")
    }
}

/// An entry: the file in `recipes/` without its ending, the recipe's name, and the model's.
macro_rules! entry {
    ($file:literal, $name:literal, $model:literal) => {
        Entry {
            name: $name,
            model: $model,
            text: include_str!(concat!("../../recipes/", $file, ".toml")),
        }
    };
}

/// All of them, in the order in which they are listed.
pub const CATALOG: [Entry; 20] = [
    entry!("prot_t5_xl_bfd", "prot-t5-xl-bfd", "prot-t5-xl"),
    entry!("prot_t5_xl_u50", "prot-t5-xl-u50", "prot-t5-xl"),
    entry!("prot_t5_xxl_bfd", "prot-t5-xxl-bfd", "prot-t5-xxl"),
    entry!("prot_t5_xxl_u50", "prot-t5-xxl-u50", "prot-t5-xxl"),
    entry!("prot_bert", "prot-bert", "prot-bert"),
    entry!("prot_bert_bfd", "prot-bert-bfd", "prot-bert"),
    entry!("prot_albert", "prot-albert", "prot-albert"),
    entry!("prot_electra", "prot-electra", "prot-electra"),
    entry!("prot_xlnet", "prot-xlnet", "prot-xlnet"),
    entry!("prot_txl", "prot-txl", "prot-txl"),
    entry!("prot_txl_bfd", "prot-txl-bfd", "prot-txl-bfd"),
    entry!("protein_lm_200m", "protein-lm-200m", "protein-lm-200m"),
    entry!("protein_lm_3b", "protein-lm-3b", "protein-lm-3b"),
    entry!("prot_t5_tiny", "prot-t5-tiny", "prot-t5-tiny"),
    entry!("prot_bert_tiny", "prot-bert-tiny", "prot-bert-tiny"),
    entry!("prot_albert_tiny", "prot-albert-tiny", "prot-albert-tiny"),
    entry!(
        "prot_electra_tiny",
        "prot-electra-tiny",
        "prot-electra-tiny"
    ),
    entry!("prot_xlnet_tiny", "prot-xlnet-tiny", "prot-xlnet-tiny"),
    entry!("prot_txl_tiny", "prot-txl-tiny", "prot-txl-tiny"),
    entry!("protein_lm_tiny", "protein-lm-tiny", "protein-lm-tiny"),
];

/// The name of the recipe in the file `path`: the file's name without its ending, with dashes.
pub fn name_of(path: &std::path::Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use crate::train::recipe::Recipe;
    use crate::train::registry::Registry;

    #[test]
    fn a_model_s_name_means_its_first_recipe() {
        let name = |asked| Registry::standard().find(asked).unwrap().name;
        assert_eq!(name("prot-t5-xl"), "prot-t5-xl-bfd");
        assert_eq!(name("prot-t5-xxl"), "prot-t5-xxl-bfd");
        assert_eq!(name("prot-bert"), "prot-bert");
        assert_eq!(name("prot-bert-bfd"), "prot-bert-bfd");
    }

    #[test]
    fn unknown_names_give_near_ones() {
        let find = |name| Registry::standard().find(name);
        let near = find("prot-t5-lx").unwrap_err();
        assert_eq!(near[0], "prot-t5-xl");
        assert_eq!(find("prot-bert-bdf").unwrap_err()[0], "prot-bert-bfd");
    }

    #[test]
    fn models_are_equal_where_family_and_configuration_are() {
        let model = |name| Recipe::preset(name).unwrap().model;
        assert_eq!(model("prot-bert"), model("prot-bert"));
        assert_ne!(model("prot-bert"), model("prot-bert-tiny"));
        assert_ne!(model("prot-bert"), model("prot-albert"));
    }
}
