-- What a question may be narrowed to; null is "any", empty text is "those with none".
(
    ({customer_id:Nullable(String)} IS NULL OR customer_id = {customer_id:Nullable(String)})
    AND ({team_id:Nullable(String)} IS NULL OR team_id = {team_id:Nullable(String)})
    AND ({user_id:Nullable(String)} IS NULL OR user_id = {user_id:Nullable(String)})
    AND ({source:Nullable(String)} IS NULL OR source = {source:Nullable(String)})
    AND ({excluded_source:Nullable(String)} IS NULL OR source != {excluded_source:Nullable(String)})
    AND ({api_key_id:Nullable(String)} IS NULL OR api_key_id = {api_key_id:Nullable(String)})
    AND ({provider:Nullable(String)} IS NULL OR provider = {provider:Nullable(String)})
    AND ({model:Nullable(String)} IS NULL OR model = {model:Nullable(String)})
)
