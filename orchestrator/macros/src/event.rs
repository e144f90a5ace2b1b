//! The expansion of `derive(Event)`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, LitStr, Path, Result, Type, parse_quote};

/// The arguments of the attribute `#[event(…)]`.
struct EventAttributes {
    name: Option<LitStr>,
    krate: Path,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let EventAttributes { name, krate } = attributes(input)?;
    let items = match &input.data {
        Data::Struct(_) => struct_items(input, name)?,
        Data::Enum(data) => enum_items(input, data, name, &krate)?,
        Data::Union(_) => return Err(Error::new_spanned(input, "a union cannot be the data of an event")),
    };
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics #krate::EventData for #ident #type_generics #where_clause {
            #items
        }
    })
}

fn struct_items(input: &DeriveInput, name: Option<LitStr>) -> Result<TokenStream> {
    let name = name.ok_or_else(|| {
        Error::new_spanned(&input.ident, "the event has no name; add `#[event(name = \"area/thing.happened\")]`")
    })?;
    Ok(quote! { const NAME: &'static str = #name; })
}

fn enum_items(input: &DeriveInput, data: &DataEnum, name: Option<LitStr>, krate: &Path) -> Result<TokenStream> {
    if let Some(name) = name {
        return Err(Error::new_spanned(name, "an enum has the names of its variants' events; remove the name"));
    }
    let mut variants = Vec::new();
    let mut types: Vec<&Type> = Vec::new();
    for variant in &data.variants {
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                variants.push(&variant.ident);
                types.push(&fields.unnamed[0].ty);
            }
            Fields::Named(_) | Fields::Unnamed(_) | Fields::Unit => {
                return Err(Error::new_spanned(
                    variant,
                    "a variant must contain the data of one event: `Created(Created)`",
                ));
            }
        }
    }
    let Some(first) = types.first() else {
        return Err(Error::new_spanned(&input.ident, "an enum without variants stands for no event"));
    };
    Ok(quote! {
        const NAME: &'static str = <#first as #krate::EventData>::NAME;
        const NAMES: &'static [&'static str] = &[#(<#types as #krate::EventData>::NAME),*];

        fn decode(
            name: &str,
            data: &#krate::__private::RawValue,
        ) -> ::core::result::Result<Self, #krate::__private::DecodeError> {
            #(
                if name == <#types as #krate::EventData>::NAME {
                    return <#types as #krate::EventData>::decode(name, data).map(Self::#variants);
                }
            )*
            Err(#krate::__private::unknown_event(name))
        }
    })
}

fn attributes(input: &DeriveInput) -> Result<EventAttributes> {
    let mut found = EventAttributes { name: None, krate: parse_quote!(::stepladder) };
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().trim().is_empty() {
                    return Err(Error::new_spanned(name, "the event's name is empty"));
                }
                if found.name.replace(name).is_some() {
                    return Err(meta.error("the event has two names; give it one"));
                }
                return Ok(());
            }
            if meta.path.is_ident("crate") {
                found.krate = meta.value()?.parse::<LitStr>()?.parse()?;
                return Ok(());
            }
            Err(meta.error("unknown attribute; use `name` or `crate`"))
        })?;
    }
    Ok(found)
}
