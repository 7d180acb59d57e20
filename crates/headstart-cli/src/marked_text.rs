//! A text with its entities marked in it.

use headstart::bundle::predict::EntityPrediction;

/// What is said of a text that was too long.
pub(crate) const CUT: &str = "  (its end was cut off)";

/// Foreground colours that are told apart on dark and on light, for one kind after the other.
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// `[Ann PER] flew to [Rome LOC]`, coloured by kind where `is_colored`. Brackets stay, so that nothing hangs on colour alone.
pub(crate) fn line(prediction: &EntityPrediction, kinds: &[&str], is_colored: bool) -> String {
    let letters: Vec<char> = prediction.text.chars().collect();
    let text = |from: usize, to: usize| letters[from..to].iter().collect::<String>();
    let (mut line, mut at) = (String::new(), 0);
    for entity in &prediction.entities {
        line.push_str(&text(at, entity.start));
        let marked = format!("[{} {}]", text(entity.start, entity.end), entity.label);
        let color = kinds.iter().position(|kind| *kind == entity.label).unwrap_or(0) % COLORS.len();
        match is_colored {
            true => line.push_str(&format!("\u{1b}[1;{}m{marked}\u{1b}[0m", COLORS[color])),
            false => line.push_str(&marked),
        }
        at = entity.end;
    }
    line.push_str(&text(at, letters.len()));
    if prediction.cut_tokens > 0 {
        line.push_str(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use headstart::tasks::token_classification::decode::FoundEntity;

    use super::*;

    #[test]
    fn entities_are_marked_where_they_stand() {
        let entity = |label: &str, start, end| FoundEntity {
            label: label.to_owned(),
            start,
            end,
            text: String::new(),
            probability: 0.9,
        };
        let entities = vec![entity("PER", 0, 3), entity("LOC", 12, 16)];
        let prediction = EntityPrediction { text: "Zoë flew to Rome.".to_owned(), entities, cut_tokens: 0 };
        assert_eq!(line(&prediction, &["LOC", "PER"], false), "[Zoë PER] flew to [Rome LOC].");
        let colored = line(&prediction, &["LOC", "PER"], true);
        assert_eq!(colored, "\u{1b}[1;33m[Zoë PER]\u{1b}[0m flew to \u{1b}[1;36m[Rome LOC]\u{1b}[0m.");
    }
}
