//! Where the weights of each backbone are published: what `--backbone` alone takes.
//!
//! Repositories and licences are those that timm 1.0.31 states in its pretrained configurations. Each was chosen to fit the
//! preprocessing of its family: for the ResNets that are torchvision's first weights, not timm's later ones.

use super::{BackboneSpec, Variant};

/// Published weights of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Registry name.
    pub backbone: &'static str,
    /// Variant of it.
    pub variant: &'static str,
    /// Hugging Face repository.
    pub repository: &'static str,
    /// Branch, tag or commit; the main branch when `None`. The bundle records the commit that it was.
    pub revision: Option<&'static str>,
    /// File within the repository.
    pub file: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
}

const SAFETENSORS: &str = "model.safetensors";

const fn row(
    backbone: &'static str,
    variant: &'static str,
    repository: &'static str,
    licence: &'static str,
) -> Published {
    Published { backbone, variant, repository, revision: None, file: SAFETENSORS, licence }
}

/// Every published checkpoint that is taken by name; the first of a backbone is what its name alone means.
pub const PUBLISHED: &[Published] = &[
    row("mobilenet_v2", "1.0", "timm/mobilenetv2_100.ra_in1k", "Apache-2.0"),
    row("mobilenet_v2", "0.5", "timm/mobilenetv2_050.lamb_in1k", "Apache-2.0"),
    row("mobilenet_v2", "1.4", "timm/mobilenetv2_140.ra_in1k", "Apache-2.0"),
    row("vgg16", "plain", "timm/vgg16.tv_in1k", "BSD-3-Clause"),
    row("vgg16", "bn", "timm/vgg16_bn.tv_in1k", "BSD-3-Clause"),
    row("inception_v3", "1.0", "timm/inception_v3.tv_in1k", "Apache-2.0"),
    row("resnet", "50", "timm/resnet50.tv_in1k", "BSD-3-Clause"),
    row("resnet", "18", "timm/resnet18.tv_in1k", "BSD-3-Clause"),
];

impl Published {
    /// What `--backbone` means without weights: the variant that was named, or the backbone's first.
    pub fn find(spec: &BackboneSpec, variant: Option<&Variant>) -> Option<&'static Self> {
        PUBLISHED
            .iter()
            .find(|row| row.backbone == spec.name && variant.is_none_or(|variant| variant.name == row.variant))
    }

    /// The row of a repository.
    pub fn of_repository(repository: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|row| row.repository == repository)
    }

    /// `name:variant`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.backbone, self.variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::find;

    #[test]
    fn every_row_is_a_variant_that_we_have_and_no_variant_has_two() {
        for (index, row) in PUBLISHED.iter().enumerate() {
            let (spec, variant) = find(&row.name()).unwrap();
            assert_eq!(Published::find(spec, variant), Some(row), "{}", row.name());
            assert!(PUBLISHED[..index].iter().all(|other| other.repository != row.repository));
            assert_eq!(Published::of_repository(row.repository), Some(row));
        }
        let (spec, _) = find("mobilenet_v2").unwrap();
        assert_eq!(Published::find(spec, None).unwrap().variant, "1.0");
    }
}
