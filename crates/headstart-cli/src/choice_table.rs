//! What `--freeze auto` tried and decided, as text.

use comfy_table::{CellAlignment, Table, presets};
use headstart::Freeze;
use headstart::depth::{Choice, Trial};

/// One finished trial in a line.
pub(crate) fn trial_line(trial: &Trial) -> String {
    let [what, rate, epochs, loss, accuracy, seconds] = cells(trial);
    format!(
        "tried    {what} · rate {rate} · {epochs} epochs   held-out loss {loss}  accuracy {accuracy} %  {seconds} s"
    )
}

/// Probes, trials and the decision.
pub(crate) fn choice(choice: &Choice) -> String {
    let mut text = String::new();
    if !choice.probes.is_empty() {
        let mut probes = table(["stage", "linear probe %", "head %"]);
        for probe in &choice.probes {
            let linear = probe.linear.map_or_else(String::new, percent);
            probes.add_row([probe.stage.clone(), linear, percent(probe.head)]);
        }
        text.push_str(&finished(probes));
    }
    if !choice.trials.is_empty() {
        let mut trials = table(["what learns", "rate", "epochs", "held-out loss", "accuracy %", "seconds"]);
        choice.trials.iter().for_each(|trial| {
            trials.add_row(cells(trial));
        });
        text.push_str(&finished(trials));
    }
    text.push_str(&format!("depth    {}\n", choice.reason));
    text
}

/// What became of it, in the report; `accuracy` is that of the result on the validation photos.
pub(crate) fn outcome(choice: &Choice, accuracy: Option<f64>) -> String {
    let mut text = format!("depth    {}\n", choice.reason);
    if let (Some(frozen), Some(accuracy)) = (choice.frozen_accuracy, accuracy) {
        text.push_str(&format!(
            "         frozen head {} %, result {} % of the validation photos\n",
            percent(frozen),
            percent(accuracy)
        ));
    }
    text
}

fn cells(trial: &Trial) -> [String; 6] {
    let what = match &trial.freeze {
        Freeze::Backbone => "the head alone".to_owned(),
        Freeze::Nothing => "everything".to_owned(),
        Freeze::UpTo(stage) => format!("what is behind {stage}"),
        other => String::from(other.clone()),
    };
    [
        what,
        format!("{:.1e}", trial.learning_rate),
        trial.epochs.to_string(),
        trial.loss.map_or_else(|| "diverged".to_owned(), |loss| format!("{loss:.3}")),
        percent(trial.accuracy),
        trial.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}")),
    ]
}

fn percent(part: f64) -> String {
    format!("{:.1}", part * 100.0)
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    table
}

fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::depth::StageProbe;

    #[test]
    fn the_table_of_a_choice_is_as_recorded() {
        let trial = |freeze: &str, learning_rate, epochs, loss, accuracy| Trial {
            freeze: Freeze::from(freeze.to_owned()),
            learning_rate,
            stage_decay: 0.9,
            epochs,
            loss,
            accuracy,
            seconds: Some(12.34),
        };
        let made = Choice {
            probes: vec![
                StageProbe { stage: "stem".into(), linear: Some(0.412), head: 0.38 },
                StageProbe { stage: "last".into(), linear: None, head: 0.755 },
            ],
            passes: 12_000.0,
            trials: vec![
                trial("all", 1e-3, 40, Some(0.7789), 0.735),
                trial("stage4", 3e-4, 8, Some(0.696), 0.784),
                trial("none", 3e-4, 8, None, 0.0),
            ],
            phase: None,
            reason: "because".into(),
            frozen_accuracy: Some(0.74),
            kept: true,
        };
        insta::assert_snapshot!(
            "choice",
            format!("{}---\n{}{}\n", choice(&made), outcome(&made, Some(0.78)), trial_line(&made.trials[1]))
        );
    }
}
