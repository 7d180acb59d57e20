//! What every registered backbone must do, so that a new one is tested before its author writes a test.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::collections::BTreeSet;

use burn::tensor::Device;
use headstart::backbones::{BACKBONES, BackboneSpec, Variant};
use headstart::features::{FeatureLayout, Features};
use headstart::load::Pretrained;
use headstart::model::FrozenBackbone;
use headstart::nn::NormStatistics;
use headstart::recipe::Pool;
use headstart::weights::{ArrayInfo, DType};

fn tiny(spec: &'static BackboneSpec) -> Pretrained {
    let variant = spec.variants.last().unwrap();
    assert_eq!(variant.name, "tiny", "the last variant of {} is for tests", spec.name);
    let mut pretrained = Pretrained::random(spec, variant, 11);
    pretrained.resize_input(spec.smallest_input.max(48)).unwrap();
    pretrained
}

fn pixels(pretrained: &Pretrained, batch: usize) -> Vec<f32> {
    let preprocess = &pretrained.conventions.preprocess;
    let count = batch * (preprocess.height * preprocess.width * 3) as usize;
    (0..count).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn every_variant() -> impl Iterator<Item = (&'static BackboneSpec, &'static Variant)> {
    BACKBONES.iter().flat_map(|spec| spec.variants.iter().map(move |variant| (*spec, variant)))
}

#[test]
fn every_parameter_belongs_to_exactly_one_stage() {
    for (spec, variant) in every_variant() {
        let parameters = (spec.parameters)(variant);
        let names: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names.len(), parameters.len(), "{}: a name is used twice", spec.name);
        for stage in 0..spec.stages.len() {
            assert!(
                names.iter().any(|name| spec.stage_of(name) == Some(stage)),
                "{}: stage {stage} is empty",
                spec.name
            );
        }
        assert!(names.iter().all(|name| spec.stage_of(name).is_some()), "{}: a parameter has no stage", spec.name);
    }
}

#[test]
fn every_name_map_covers_all_parameters_one_to_one() {
    for (spec, variant) in every_variant() {
        let ours: BTreeSet<String> = (spec.parameters)(variant).into_iter().map(|parameter| parameter.name).collect();
        for family in spec.families {
            let entries = (family.entries)(variant);
            if entries.is_empty() {
                continue; // not published by this family
            }
            let mapped: BTreeSet<String> = entries.iter().map(|entry| entry.ours.clone()).collect();
            let read: Vec<&String> =
                entries.iter().filter(|entry| entry.layout.is_read()).map(|entry| &entry.theirs).collect();
            let theirs: BTreeSet<&&String> = read.iter().collect();
            assert_eq!(mapped, ours, "{} {}", spec.name, family.family);
            assert_eq!(theirs.len(), read.len(), "{} {}: a name is used twice", spec.name, family.family);
        }
    }
}

#[test]
fn a_listing_in_a_familys_names_is_recognized_with_and_without_a_prefix() {
    for (spec, variant) in every_variant() {
        let shapes = (spec.parameters)(variant);
        for family in spec.families.iter().filter(|family| (family.applies)(&[])) {
            let prefixes = if family.family == "slim" { ["", "module/"] } else { ["", "state_dict.module."] };
            for prefix in prefixes.into_iter().take(if family.family == "keras" { 1 } else { 2 }) {
                let of = |name: &str| shapes.iter().find(|parameter| parameter.name == name).unwrap().shape.clone();
                let arrays: Vec<ArrayInfo> = (family.entries)(variant)
                    .into_iter()
                    .flat_map(|entry| entry.layout.sources(&entry.theirs, &of(&entry.ours)))
                    .map(|(name, shape)| ArrayInfo { name: format!("{prefix}{name}"), shape, dtype: DType::F32 })
                    .collect();
                if arrays.is_empty() {
                    continue; // not published by this family
                }
                let fit = headstart::load::fits(&arrays).into_iter().next().unwrap();
                assert!(fit.is_complete(), "{}", fit.first_error());
                assert_eq!(
                    (fit.spec.name, fit.variant.name, fit.family.family),
                    (spec.name, variant.name, family.family)
                );
            }
        }
    }
}

#[test]
fn the_frozen_form_equals_the_trainable_form_from_every_cut() {
    for spec in BACKBONES {
        let pretrained = tiny(spec);
        let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters).unwrap();
        let device = Device::default();
        let module =
            (spec.trainable)(pretrained.variant, &pretrained.parameters, &pretrained.conventions, &device).unwrap();
        let input = pixels(&pretrained, 2);
        let whole = frozen.forward(&input, 2, frozen.stage_count(), Pool::Flatten, 1).unwrap();
        for depth in 0..frozen.stage_count() {
            let FeatureLayout::Map { channels, height, width } = (if depth == 0 {
                let preprocess = &pretrained.conventions.preprocess;
                FeatureLayout::Map { channels: 3, height: preprocess.height as usize, width: preprocess.width as usize }
            } else {
                frozen.layout(depth, Pool::Average)
            }) else {
                panic!("stages of {} give maps", spec.name)
            };
            let below = frozen.forward(&input, 2, depth, Pool::Average, 1).unwrap();
            let data = burn::tensor::TensorData::new(below, [2, height, width, channels]);
            let map = burn::tensor::Tensor::<4>::from_data(data, &device).permute([0, 3, 1, 2]);
            let Features::Map(map) = module.resume_from(depth, Features::Map(map), NormStatistics::Fixed) else {
                panic!("a map")
            };
            let found: Vec<f32> = map.permute([0, 2, 3, 1]).into_data().try_into_vec().unwrap();
            let scale = whole.iter().fold(0f32, |most, value| most.max(value.abs()));
            let gap = found.iter().zip(&whole).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(gap <= 1e-4 * scale.max(1e-3), "{} from stage {depth}: {gap} of {scale}", spec.name);
        }
    }
}

#[test]
fn a_batch_of_one_equals_a_batch_of_two_to_the_last_bit_on_any_number_of_threads() {
    for spec in BACKBONES {
        let pretrained = tiny(spec);
        let frozen = FrozenBackbone::new(&pretrained, &pretrained.parameters).unwrap();
        let (input, depth) = (pixels(&pretrained, 3), frozen.stage_count());
        let together = frozen.forward(&input, 3, depth, Pool::Average, 1).unwrap();
        for threads in [1, 2, 4] {
            assert_eq!(frozen.forward(&input, 3, depth, Pool::Average, threads).unwrap(), together);
        }
        let third = input.len() / 3;
        let alone: Vec<f32> = input
            .chunks_exact(third)
            .flat_map(|one| frozen.forward(one, 1, depth, Pool::Average, 2).unwrap())
            .collect();
        assert_eq!(alone, together);
    }
}
