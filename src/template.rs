//! Text with places that are filled, such as `https://keys.example/{kid}`.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// The places of a kind of template: what each is written as, and what it stands for.
pub type Places<P> = &'static [(&'static str, P)];

/// Text with places. It may hold credentials.
pub struct Template<P: 'static> {
    text: Zeroizing<String>,
    known: Places<P>,
    places: Vec<P>,
}

impl<P: Copy + PartialEq> Template<P> {
    /// Reads a template. `None` when it has a brace that belongs to no place.
    ///
    /// ```
    /// use keylet::template::Template;
    ///
    /// let template = Template::read("skd://{kid}", &[("{kid}", 'k')]).unwrap();
    /// assert_eq!(template.filled(|_| Some("12".into())).as_deref(), Some("skd://12"));
    /// assert!(Template::read("skd://{kdi}", &[("{kid}", 'k')]).is_none());
    /// ```
    pub fn read(text: &str, known: Places<P>) -> Option<Self> {
        let mut this = Self {
            text: Zeroizing::new(text.to_owned()),
            known,
            places: Vec::new(),
        };
        let mut places = Vec::new();
        this.parts(|_, place| places.extend(place))?;
        this.places = places;
        Some(this)
    }

    /// Whether it has this place.
    pub fn has(&self, place: P) -> bool {
        self.places.contains(&place)
    }

    /// Whether it has any.
    pub fn has_places(&self) -> bool {
        !self.places.is_empty()
    }

    /// The text with every place filled. `None` when there is nothing to fill one with.
    pub fn filled<'a>(&self, value: impl Fn(P) -> Option<Cow<'a, str>>) -> Option<String> {
        let mut filled = Some(String::with_capacity(self.text.len() + 64));
        self.parts(|before, place| {
            let value = place.map_or(Some(Cow::Borrowed("")), &value);
            match (&mut filled, value) {
                (Some(text), Some(value)) => {
                    text.push_str(before);
                    text.push_str(&value);
                }
                _ => filled = None,
            }
        })?;
        filled
    }

    /// The template as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Hands over each piece of text and the place behind it; the last piece has none. `None` at a brace that belongs to
    /// no place.
    fn parts(&self, mut part: impl FnMut(&str, Option<P>)) -> Option<()> {
        let mut rest = self.text.as_str();
        while let Some(start) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at_checked(start)?;
            let mut places = self.known.iter();
            let (name, place) = places.find(|(name, _)| from_brace.starts_with(name))?;
            part(before, Some(*place));
            rest = from_brace.strip_prefix(name)?;
        }
        part(rest, None);
        Some(())
    }
}
